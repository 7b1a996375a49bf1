"""The policy file: what fits, and each way in which one does not make sense."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.tiers import Tier
from streams.errors import PolicyError
from streams.handlers.port import Then
from streams.mail.message import Address, Mail
from streams.mail.policy import MAX_PAYLOAD, MAX_RULES, MAX_THEN, Labels, Policy

RESULT = b'{"subject": "", "text": "", "from": "", "labels": {}, "spam": {"probability": 0.5}}'
BOSS = Address("Ines", "Ines@Example.com")
EVE = Address("Eve", "eve@evil.example")
URGENT = Labels("work", "high", 0.2, is_spam=False)


def policy(tmp_path, text: str) -> Policy:
    file = tmp_path / "policy.toml"
    file.write_text(text)
    return Policy.read(file, RESULT)


def mail(*senders: Address, results: str = "") -> Mail:
    headers = (("authentication-results", results),) if results else ()
    return Mail("Budget", "", None, "text", senders=senders, headers=headers)


def name(policy: Policy, mail: Mail, labels: Labels = URGENT, owner: str = "ada") -> str | None:
    rule = policy.route(mail, labels, owner)
    return rule and rule.name


@pytest.mark.parametrize(
    ("rule", "fits"),
    [
        ("", True),
        ('from = "ines@example.com"', True),
        ('from = ["a@b.example", "@EXAMPLE.com"]', True),
        ('from = "@ample.com"', False),
        ('from = "nes@example.com"', False),
        ('from = "@sub.example.com"', False),
        ('category = "work"', True),
        ('category = ["travel", "work"]', True),
        ('category = "travel"', False),
        ('urgency = ["high", "normal"]', True),
        ('urgency = "low"', False),
        ("spam = false", True),
        ("spam = true", False),
        ("spam = 0.2", True),
        ("spam = 0.21", False),
        ('owner = "ada"', True),
        ('owner = ["ben"]', False),
        ('authenticated = "mx.example.com"', False),
        ('from = "@example.com"\ncategory = "work"\nurgency = "high"\nspam = false\nowner = "ada"', True),
        ('from = "@example.com"\ncategory = "work"\nurgency = "low"', False),
    ],
)
def test_a_rule_fits_when_all_that_it_names_does(tmp_path, rule, fits):
    made = policy(tmp_path, f'[[rule]]\nname = "it"\n{rule}')
    assert name(made, mail(BOSS)) == ("it" if fits else None)


def test_the_first_rule_that_fits_counts(tmp_path):
    made = policy(tmp_path, '[[rule]]\nname = "a"\nurgency = "low"\n[[rule]]\nname = "b"\n[[rule]]\nname = "c"')
    assert name(made, mail(BOSS)) == "b"
    assert name(made, mail(BOSS), Labels("work", "low", 0, is_spam=False)) == "a"


def test_a_stranger_does_not_get_in_beside_one_who_is_named(tmp_path):
    made = policy(tmp_path, '[[rule]]\nname = "it"\nfrom = "ines@example.com"')
    assert name(made, mail(BOSS, BOSS)) == "it"
    assert name(made, mail(BOSS, EVE)) is None
    assert name(made, mail()) is None


def test_a_sender_who_must_be_vouched_for_is_not_believed(tmp_path):
    made = policy(tmp_path, '[[rule]]\nname = "it"\nfrom = "ines@example.com"\nauthenticated = "mx.example.com"')
    passed = "mx.example.com; dmarc=pass header.from=example.com"
    assert name(made, mail(BOSS, results=passed)) == "it"
    assert name(made, mail(BOSS, results=passed.replace("pass", "fail"))) is None
    assert name(made, mail(EVE, results=passed.replace("from=", "from=evil."))) is None


def test_a_rule_s_tier_is_that_of_its_steps_which_name_none(tmp_path):
    text = '[[rule]]\nname = "it"\ntier = "urgent"\nthen = [{kind = "a.b", payload = {x = "{{ result.text }}"}}, {kind = "c.d", tier = "low"}]'
    (rule,) = policy(tmp_path, text).rules
    assert rule.steps == (Then("a.b", {"x": "{{ result.text }}"}, Tier.URGENT), Then("c.d", {}, Tier.LOW))


def test_no_rule_is_a_policy(tmp_path):
    assert policy(tmp_path, "").route(mail(BOSS), URGENT, "ada") is None


def test_the_example_is_one():
    file = Path(__file__).parents[3] / "docs" / "examples" / "mail-policy.toml"
    made = Policy.read(file, RESULT)
    assert [rule.name for rule in made.rules] == ["junk", "my manager, urgently", "invoices"]


STEP = 'then = [{kind = "a.b", payload = {x = "%s"}}]'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[rule]", "policy.toml: "),
        ("rule = 3", "each under [[rule]]"),
        ("[rules]", "each under [[rule]]"),
        ("rule = [3]", "rule 1 (it has no name): "),
        ('[[rule]]\nurgency = "high"', "rule 1 (it has no name): name: "),
        ('[[rule]]\nname = "a"\n[[rule]]\nname = "a"', "rule 2 (a): name: "),
        ('[[rule]]\nname = "a"\n[[rule]]\nname = "b"\nform = "x@y.example"', "rule 2 (b): form: "),
        ('[[rule]]\nname = "a"\nfrom = "example.com"', "rule 1 (a): from.0: "),
        ('[[rule]]\nname = "a"\nfrom = 3', "from.0: "),
        ('[[rule]]\nname = "a"\nurgency = "higher"', "urgency.0: "),
        ('[[rule]]\nname = "a"\nspam = 2.0', "spam"),
        ('[[rule]]\nname = "a"\nspam = 1', "spam"),
        ('[[rule]]\nname = "a"\nauthenticated = ""', "authenticated: "),
        ('[[rule]]\nname = "a"\nauthenticated = true', "authenticated: "),
        ('[[rule]]\nname = "a"\ntier = "soon"\nthen = [{kind = "a.b"}]', "tier: "),
        ('[[rule]]\nname = "a"\ntier = "urgent"', "give `then`"),
        ('[[rule]]\nname = "a"\nthen = [{kind = ""}]', "then.0.kind: "),
        ('[[rule]]\nname = "a"\nthen = [{kind = "a.b", pay = {}}]', "then.0.pay: "),
        ('[[rule]]\nname = "a"\nthen = [{kind = "mail.classify"}]', "then.0.kind: "),
        ('[[rule]]\nname = "a"\n' + STEP % "{{ mail.text }}", "then.0.payload.x: "),
        ('[[rule]]\nname = "a"\n' + STEP % "{{ result.txet }}", "there is no 'txet'"),
        ('[[rule]]\nname = "a"\n' + STEP % "{{ result.labels.work }}", "then.0.payload.x: "),
        ('[[rule]]\nname = "a"\n' + STEP % ("x" * MAX_PAYLOAD), "then.0.payload: "),
        ('[[rule]]\nname = "a"\nthen = [' + '{kind = "a.b"},' * (MAX_THEN + 1) + "]", "then: "),
        ('[[rule]]\nname = "a"\n' * (MAX_RULES + 1), "at most"),
    ],
)
def test_one_that_makes_no_sense_names_file_rule_and_field(tmp_path, text, said):
    with pytest.raises(PolicyError) as caught:
        policy(tmp_path, text)
    assert said in caught.value.message
    assert str(tmp_path / "policy.toml") in caught.value.message
    assert caught.value.code == "mail.policy"


def test_a_file_that_is_not_there_or_no_text_is_named(tmp_path):
    with pytest.raises(PolicyError, match=r"none\.toml"):
        Policy.read(tmp_path / "none.toml", RESULT)
    (tmp_path / "latin.toml").write_bytes(b'[[rule]]\nname = "caf\xe9"')
    with pytest.raises(PolicyError, match=r"latin\.toml"):
        Policy.read(tmp_path / "latin.toml", RESULT)
