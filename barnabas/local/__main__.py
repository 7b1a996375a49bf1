"""`python -m barnabas.local up | down | reset | backup | restore`: the local stack without the rest of the CLI."""

from barnabas.local.commands import app

if __name__ == "__main__":
    app()
