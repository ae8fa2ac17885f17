"""python -m orchestrator.cli is amends."""

from orchestrator.cli.main import main

if __name__ == "__main__":
    main()
