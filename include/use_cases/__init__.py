"""The use cases: one package each. ``use_case(name)`` and ``use_cases()`` find them."""

from include.contracts.use_case import UseCase, use_case, use_cases

__all__ = ["UseCase", "use_case", "use_cases"]
