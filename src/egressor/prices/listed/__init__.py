"""
The prices that come with the package ``genai-prices``, read without the package: to import it takes 12 MB and a tenth
of a second, for what reads its updates. Its list is a Python module that calls the names of its neighbour ``types``;
here it is run beside `types` of our own, in 15 milliseconds and 3 MB. What is found is what the package finds, by the
same rules: a test compares them for each model.
"""

from __future__ import annotations

from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .types import ModelInfo, Provider

__all__ = ["Listed", "read"]

_ROUTER: Final = "litellm"


class Listed:
    """
    All providers, with their models.
    """

    def __init__(self, providers: list[Provider]) -> None:
        self.providers = providers

    def find_provider_model(
        self, model_ref: str, provider: None, provider_id: str | None, provider_api_url: None
    ) -> tuple[Provider, ModelInfo]:
        """
        Find a model, as the package's function of this name does.

        Args:
            model_ref: Its name.
            provider: Not used here.
            provider_id: Who sells it; None for whoever's it is.
            provider_api_url: Not used here.

        Raises:
            LookupError: It is not known.
        """
        del provider, provider_api_url
        model_ref = model_ref.lower()
        if provider_id and provider_id.lower() == _ROUTER:
            seller, slash, rest = model_ref.partition("/")
            if slash and seller and self._seller(seller) is not None:
                provider_id, model_ref = seller, rest
        home = self._home(model_ref, provider_id)
        model = None if home is None else home.find_model(model_ref, all_providers=self.providers)
        if home is None or model is None:
            raise LookupError(model_ref)
        return home, model

    def _home(self, model_ref: str, provider_id: str | None) -> Provider | None:
        if provider_id is not None:
            found = self._seller(provider_id)
            if found is not None or provider_id.lower() != _ROUTER:
                return found
        if not model_ref:
            return None
        return next(
            (each for each in self.providers if each.model_match and each.model_match.is_match(model_ref)), None
        )

    def _seller(self, provider_id: str) -> Provider | None:
        name = provider_id.lower().strip()
        named = (each for each in self.providers if each.id == name)
        alike = (each for each in self.providers if each.provider_match and each.provider_match.is_match(name))
        return next(named, None) or next(alike, None)


def read() -> Listed:
    """
    Read the prices of the package that is installed.

    Raises:
        ImportError: None is.
        Exception: Its prices are not written as we know them.
    """
    package = find_spec("genai_prices")
    if package is None or package.origin is None:
        message = "genai-prices is not installed"
        raise ImportError(message)
    spec = spec_from_file_location(f"{__name__}.data", Path(package.origin).with_name("data.py"))
    if spec is None or spec.loader is None:
        message = f"no prices beside {package.origin}"
        raise ImportError(message)
    # It is a module of this room only while it runs: what it imports from its own is what we have put there.
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return Listed(module.providers)
