"""The API's documentation for people, at `/docs`: Swagger UI from a wheel.

A page where a key is typed loads no script from elsewhere, and it is there without a network.
"""

from importlib.resources import files

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from fastapi.staticfiles import StaticFiles

PAGE = "/docs"
ASSETS = "/docs/assets"


def serve(app: FastAPI) -> None:
    """Put the page and what it loads on the port."""
    # Only its files are used: its own FastAPI would bring ReDoc and an OAuth page along.
    app.mount(ASSETS, StaticFiles(directory=str(files("fastapi_offline") / "static")), name="docs-assets")

    @app.get(PAGE, include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=app.openapi_url or "",
            title=f"{app.title}: the API",
            swagger_js_url=f"{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{ASSETS}/favicon.png",
            swagger_ui_parameters={"validatorUrl": None},  # else the API is shown to a server of Swagger's
        )
