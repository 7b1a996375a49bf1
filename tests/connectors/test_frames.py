"""Frames of the live protocols: any text at all is a frame or a typed error."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors import frames
from connectors.errors import RequestError
from connectors.packed import pack
from connectors.plugin import GROUP, Plugin, load

values = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.dictionaries(st.text(max_size=3), st.none())
)
names = st.sampled_from(["type", "ref", "kind", "payload", "tier", "task", "all", "prompt", "messages", "options", "x"])
types = st.sampled_from(["submit", "ask", "subscribe", "unsubscribe", "cancel", "ping", "other"])


@given(
    st.text() | st.builds(lambda body, kind: json.dumps({**body, "type": kind}), st.dictionaries(names, values), types)
)
def test_any_text_is_a_frame_or_a_typed_error(text):
    try:
        frame = frames.read(text)
    except RequestError as error:
        assert error.message
        frames.ref_of(text)
    else:
        assert isinstance(frame, frames.FromClient)


def test_an_error_frame_says_whether_to_try_again():
    packed = pack(frames.error(RequestError("no", field="x"), ref="1"))
    assert json.loads(packed.data) == {
        "type": "error", "ref": "1", "code": "request.invalid", "message": "no", "field": "x", "retryable": False,
    }  # fmt: skip


def test_the_plugins_that_are_installed():
    class Services:
        """None are needed to be made."""

    plugins = load(Services())
    assert {"rest", "websocket"} <= {plugin.name for plugin in plugins}
    assert all(isinstance(plugin, Plugin) for plugin in plugins)
    assert GROUP == "barnabas.plugins"


@pytest.mark.parametrize("data", ["{", "[]", '{"type": "ping", "more": 1}', '{"ref": "x"}'])
def test_a_frame_that_can_not_be_read_is_refused(data):
    with pytest.raises(RequestError):
        frames.read(data)
