"""Prompts: from a request and the times of the frames shown to the text that a model reads.

The templates are versioned files beside this module (`prompts/*.j2`); a user may bring a folder
with templates of the same names. Either way they run sandboxed, see only the variables below, and
never the expected answer. The hash of a rendered prompt covers the template that made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from schemas.base import content_hash
from schemas.case import Scene
from schemas.task import OPTION_LETTERS, TaskKind
from schemas.view import Condition, View
from transforms.annotate.teacher import Purpose, Request, TeacherSettings

FILES: Mapping[Purpose, str] = MappingProxyType(
    {
        Purpose.DESCRIBE: "describe.v1.j2",
        Purpose.SUMMARIZE: "summarize.v1.j2",
        Purpose.PROPOSE: "propose.v2.j2",
        Purpose.SOLVE: "solve.v3.j2",
        Purpose.CHECK: "check.v1.j2",
        Purpose.CONCLUDE: "conclude.v1.j2",
    }
)
_SHOWN = frozenset({"duration_s", "frame_times_s", "lines"})
VARIABLES: Mapping[Purpose, frozenset[str]] = MappingProxyType(
    {
        Purpose.DESCRIBE: _SHOWN,
        Purpose.SUMMARIZE: frozenset({"captions"}),
        Purpose.PROPOSE: _SHOWN
        | {"wanted", "kinds", "sample", "critique", "captions", "event", "story"},
        Purpose.SOLVE: _SHOWN
        | {"kind", "question", "options", "critique", "reply_form", "tool_calls"},
        Purpose.CHECK: _SHOWN | {"statement", "is_part"},
        Purpose.CONCLUDE: frozenset({"kind", "question", "options", "reasoning"}),
    }
)
"""What the templates may use."""

MAX_PROMPT_CHARS = 100_000
MAX_TEMPLATE_CHARS = 50_000


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt; `sha256` also covers the template's name and text."""

    text: str
    sha256: str


@dataclass(frozen=True)
class Templates:
    """The templates as text, by purpose, so that they travel to workers and into keys."""

    texts: Mapping[Purpose, str]

    def __hash__(self) -> int:
        return hash(self.version())

    def version(self) -> str:
        """Changes with the templates and their names."""
        return content_hash(*[[FILES[purpose], self.texts[purpose]] for purpose in Purpose])[:16]


def own_folder() -> Path:
    """Where the templates of proofreel lie."""
    return Path(__file__).with_name("prompts")


def load_templates(folder: str = "") -> Templates:
    """Read the templates from `folder`; those that it does not hold are those of proofreel.

    Raises ValueError, with the file's name, for a folder without any, a template of an unknown
    name, one that does not parse, and one that uses variables that there are not.
    """
    base = Path(folder) if folder else own_folder()
    found = {path.name for path in base.glob("*.j2")} if base.is_dir() else set()
    known = ", ".join(FILES.values())
    if not found:
        raise ValueError(f"{base} holds no prompt template; there are: {known}")
    if strange := sorted(found - set(FILES.values())):
        raise ValueError(f"{base / strange[0]} is no prompt template; there are: {known}")
    return Templates(
        {
            purpose: _checked((base if file in found else own_folder()) / file, VARIABLES[purpose])
            for purpose, file in FILES.items()
        }
    )


def _checked(path: Path, variables: frozenset[str]) -> str:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"prompt template {path} can't be read: {error}") from error
    if len(text) > MAX_TEMPLATE_CHARS:
        raise ValueError(f"prompt template {path} has more than {MAX_TEMPLATE_CHARS} characters")
    try:
        unknown = _names(text) - variables
        _compiled(text)
    except TemplateError as error:
        raise ValueError(f"prompt template {path}: {error}") from error
    if unknown:
        raise ValueError(
            f"prompt template {path} uses {', '.join(sorted(unknown))}; "
            f"there are: {', '.join(sorted(variables))}"
        )
    return text


@lru_cache(maxsize=16)
def _names(text: str) -> frozenset[str]:
    """Variables that a template uses. Raises TemplateError if it does not parse."""
    return frozenset(meta.find_undeclared_variables(_environment().parse(text)))


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox, which also refuses the operators that can fill the memory in one step."""

    intercepted_binops = frozenset({"*", "**"})

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if not all(isinstance(value, int | float) and abs(value) < 1e6 for value in (left, right)):
            raise TemplateError(f"{operator} in a prompt template takes two moderate numbers")
        return super().call_binop(context, operator, left, right)


def seconds(value: float) -> str:
    """A time as it stands in prompts and reasoning: `3.20 s`."""
    return f"{value:.2f} s"


@lru_cache(maxsize=1)
def _environment() -> _Environment:
    # No loader: a template can't include or import anything. Text, not HTML: no escaping.
    environment = _Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.globals.clear()
    environment.filters["seconds"] = seconds
    return environment


@lru_cache(maxsize=16)
def _compiled(text: str) -> Template:
    return _environment().from_string(text)


def plain(text: str) -> str:
    """Text of a user or a model, made harmless for chat templates.

    Models take `<|...|>` for control tokens and `<image>` or `<video>` for media; a question that
    holds them would change the turn or the number of media.
    """
    for marker in ("<|", "|>", "<image", "<video", "<audio"):
        text = text.replace(marker, f"{marker[0]} {marker[1:]}")
    return text


def kinds_of(request: Request) -> tuple[TaskKind, ...]:
    """The kinds that a request for questions allows; all of them if it names none."""
    return request.kinds or tuple(TaskKind)


def render_prompt(
    request: Request,
    templates: Templates,
    settings: TeacherSettings,
    frame_times_s: Sequence[float] = (),
) -> Prompt:
    """The prompt of a request, for frames that are shown at these clip times (seconds).

    Raises jinja2.TemplateError if a user's template fails, ValueError if the prompt gets too long.
    """
    purpose = request.purpose
    variables = _variables(request, settings)
    if request.scene is not None:
        variables |= _shown(request.scene, request.view, frame_times_s)
    text = _compiled(templates.texts[purpose]).render(variables).strip()
    if len(text) > MAX_PROMPT_CHARS:
        raise ValueError(f"the prompt has {len(text)} characters, more than {MAX_PROMPT_CHARS}")
    return Prompt(text, content_hash(FILES[purpose], templates.texts[purpose], text))


def _variables(request: Request, settings: TeacherSettings) -> dict[str, Any]:
    if request.purpose is Purpose.SUMMARIZE:
        return {"captions": [_timed(caption) for caption in request.captions]}
    if request.purpose is Purpose.PROPOSE:
        return _propose(request)
    if request.purpose is Purpose.SOLVE:
        return _solve(request, settings)
    if request.purpose is Purpose.CHECK:
        return {"statement": plain(request.statement), "is_part": bool(request.view.box)}
    if request.purpose is Purpose.CONCLUDE:
        return _asked(request) | {"reasoning": plain(request.reasoning)}
    return {}


def _shown(scene: Scene, view: View, frame_times_s: Sequence[float]) -> dict[str, Any]:
    # Words are evidence, too: what a view hides is not told either.
    lines = [
        line
        for line in scene.lines
        if view.condition in (Condition.FULL, Condition.SHUFFLED)
        or (view.shows(line.start_s) and view.shows(line.end_s))
    ]
    return {
        "duration_s": scene.media.duration_s,
        "frame_times_s": tuple(frame_times_s),
        "lines": [_timed(line) | {"source": line.source} for line in lines],
    }


def _timed(part: Any) -> dict[str, Any]:
    return {"start_s": part.start_s, "end_s": part.end_s, "text": plain(part.text)}


def _propose(request: Request) -> dict[str, Any]:
    assert request.scene is not None
    description = request.scene.description
    return {
        "wanted": max(request.wanted, 1),
        "kinds": tuple(kind.value for kind in kinds_of(request)),
        "sample": request.sample,
        "critique": tuple(plain(line) for line in request.critique),
        "captions": [_timed(caption) for caption in description.captions],
        "event": plain(description.event),
        "story": plain(description.story),
    }


def _asked(request: Request) -> dict[str, Any]:
    # Field by field, and never the task itself: it holds the expected answer and its evidence.
    # Nor the description: the model must look at the clip itself.
    task = request.task
    assert task is not None
    options = (plain(option) for option in task.options)
    return {
        "kind": task.kind.value,
        "question": plain(task.question),
        "options": tuple(zip(OPTION_LETTERS, options, strict=False)),
    }


def _solve(request: Request, settings: TeacherSettings) -> dict[str, Any]:
    return _asked(request) | {
        "critique": tuple(plain(line) for line in request.critique),
        "reply_form": settings.reply_form.value,
        # What stands in the first turn must not change with the turns that follow.
        "tool_calls": settings.tool_calls,
    }
