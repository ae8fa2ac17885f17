from orchestrator.testing.pytest_plugin import sim

__all__ = ["sim"]
