"""
How the pages are built. `make docs` runs Sphinx with -W and -n: a warning or a broken reference fails the build.
"""

from __future__ import annotations

from importlib.metadata import version as version_of

project = "Egressor"
author = "The Egressor authors"
copyright = "The Egressor authors"  # noqa: A001 - the name that Sphinx reads
release = version_of("egressor")
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_numpy_docstring = False

nitpicky = True
# Names of the standard library and of the clients that we wrap are not ours to document. They aren't linked either:
# fetching other projects' inventories would make this build depend on the network.
nitpick_ignore_regex = [
    (r"py:.*", r"(collections|contextlib|datetime|decimal|enum|http|pathlib|ssl|types|typing)\..*"),
    (r"py:.*", r"(aiohttp|httpx|httpx2|requests)\..*"),
    # Types of a signature that users hand over or get, and need not look inside.
    (r"py:class", r"(egressor\..*\.)?(Clock|Done|Event|Hint|Messages|Plan|Step|Permit|Usage|_Handler|_Target|_Value)"),
    (r"py:class", r"(Any|AsyncGenerator|Awaitable|Callable|Decimal|Generator|Iterable|Iterator|Mapping|Path|Self)"),
    (r"py:class", r"(Sequence|optional|[A-Z]|[A-Z]_co)"),
]

html_theme = "furo"
html_title = f"Egressor {release}"
html_show_sphinx = False
