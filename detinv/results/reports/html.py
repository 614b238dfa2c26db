r"""Pages from Jinja2 templates: every value is escaped, and nothing invisible gets into a page.

Jinja2 escapes markup; this module adds the rule that control characters and marks of text direction, which names from
data sets may contain, are written out (`\x1b`).
"""

from functools import cache
from typing import TYPE_CHECKING, Any

from detinv.inputs.printable import printable

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def render(template: str, **values: Any) -> str:
    """Return the page that `templates/<template>` makes of `values`; all text in them is escaped.

    Raises:
        UndefinedError: of Jinja2, for a value that the template uses and `values` lacks.
    """
    return _environment().get_template(template).render(values)


def render_markup(template: str, **values: Any) -> "Markup":
    """Return a fragment of a page, which other templates insert without escaping it again; see `render`."""
    from markupsafe import Markup

    return Markup(render(template, **values))


def render_macro(template: str, macro: str, **values: Any) -> "Markup":
    """Return what the macro `macro` of a template makes of `values`, as a fragment; see `render_markup`."""
    return getattr(_environment().get_template(template).module, macro)(**values)


@cache
def _environment() -> "Environment":
    # Only reports need Jinja2, so the first steps of an inversion do not wait for its import.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("detinv.results.reports", "templates"),
        autoescape=True,
        finalize=_visible,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def _visible(value: object) -> object:
    """Return text without invisible characters; fragments of a page have been through here already."""
    from markupsafe import Markup

    return value if isinstance(value, Markup) else printable(str(value))
