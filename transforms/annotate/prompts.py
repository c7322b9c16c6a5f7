"""Prompts: from a request and the times of the frames shown to the text, and to the reply's schema.

The templates are versioned files beside this module (`prompts/*.j2`); a user may bring a folder
with templates of the same names. Either way they run sandboxed, see only the variables below, and
never the expected answer. The hash of a rendered prompt covers the template that made it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, meta
from jinja2.sandbox import ImmutableSandboxedEnvironment

from schemas.base import content_hash
from schemas.task import OPTION_LETTERS, TaskKind
from transforms.annotate.replies import ProposeReply, ReplyModel, SolveReply
from transforms.annotate.teacher import Request

PROPOSE_FILE = "propose.v1.j2"
SOLVE_FILE = "solve.v1.j2"

PROPOSE_VARIABLES = frozenset(
    {"duration_s", "frame_times_s", "wanted", "kinds", "sample", "critique"}
)
SOLVE_VARIABLES = frozenset(
    {"duration_s", "frame_times_s", "kind", "question", "options", "critique"}
)

MAX_PROMPT_CHARS = 100_000
MAX_TEMPLATE_CHARS = 50_000


@dataclass(frozen=True)
class Prompt:
    """A rendered prompt; `sha256` also covers the template's name and text."""

    text: str
    sha256: str


@dataclass(frozen=True)
class Templates:
    """The two templates as text, so that they travel to workers and into keys."""

    propose: str
    solve: str

    def version(self) -> str:
        """Changes with the templates and with the schemas of the replies."""
        schemas = [model.model_json_schema() for model in (ProposeReply, SolveReply)]
        names = [PROPOSE_FILE, SOLVE_FILE]
        return content_hash(names, self.propose, self.solve, schemas)[:16]


def load_templates(folder: str = "") -> Templates:
    """Read the templates from `folder`; without one, those of proofreel.

    Raises ValueError, with the file's name, for a template that is missing, does not parse, or
    uses variables that there are not.
    """
    base = Path(folder) if folder else Path(__file__).with_name("prompts")
    return Templates(
        propose=_checked(base / PROPOSE_FILE, PROPOSE_VARIABLES),
        solve=_checked(base / SOLVE_FILE, SOLVE_VARIABLES),
    )


def _checked(path: Path, variables: frozenset[str]) -> str:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"prompt template {path} can't be read: {error}") from error
    if len(text) > MAX_TEMPLATE_CHARS:
        raise ValueError(f"prompt template {path} has more than {MAX_TEMPLATE_CHARS} characters")
    try:
        unknown = meta.find_undeclared_variables(_environment().parse(text)) - variables
        _compiled(text)
    except TemplateError as error:
        raise ValueError(f"prompt template {path}: {error}") from error
    if unknown:
        raise ValueError(
            f"prompt template {path} uses {', '.join(sorted(unknown))}; "
            f"there are: {', '.join(sorted(variables))}"
        )
    return text


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
    request: Request, templates: Templates, *, duration_s: float, frame_times_s: Sequence[float]
) -> Prompt:
    """The prompt of a request, for frames that are shown at these clip times (seconds).

    Raises jinja2.TemplateError if a user's template fails, ValueError if the prompt gets too long.
    """
    if request.task is None:
        file, template, variables = PROPOSE_FILE, templates.propose, _propose(request)
    else:
        file, template, variables = SOLVE_FILE, templates.solve, _solve(request)
    variables |= {
        "duration_s": duration_s,
        "frame_times_s": tuple(frame_times_s),
        "critique": tuple(plain(line) for line in request.critique),
    }
    text = _compiled(template).render(variables).strip()
    if len(text) > MAX_PROMPT_CHARS:
        raise ValueError(f"the prompt has {len(text)} characters, more than {MAX_PROMPT_CHARS}")
    return Prompt(text, content_hash(file, template, text))


def _propose(request: Request) -> dict[str, Any]:
    return {
        "wanted": max(request.wanted, 1),
        "kinds": tuple(kind.value for kind in kinds_of(request)),
        "sample": request.sample,
    }


def _solve(request: Request) -> dict[str, Any]:
    # Field by field, and never the task itself: it holds the expected answer and its evidence.
    task = request.task
    assert task is not None
    options = (plain(option) for option in task.options)
    return {
        "kind": task.kind.value,
        "question": plain(task.question),
        "options": tuple(zip(OPTION_LETTERS, options, strict=False)),
    }


def reply_model(request: Request) -> type[ReplyModel]:
    """What the reply to a request must be."""
    return ProposeReply if request.task is None else SolveReply


def reply_schema(request: Request) -> dict[str, Any]:
    """The JSON schema that a server or engine holds the reply to.

    It is the schema of `reply_model`, in the part of JSON Schema that all of them understand: no
    references, every field required, arrays of one type. Bounds of length are left to
    `read_reply`, which reads every reply anyway: grammars unroll them. For a request for questions
    it allows only the kinds asked for and no more questions than wanted.
    """
    if request.task is not None:
        return copy.deepcopy(_wire_schema(SolveReply))
    schema = copy.deepcopy(_wire_schema(ProposeReply))
    tasks = schema["properties"]["tasks"]
    tasks |= {"minItems": 1, "maxItems": max(request.wanted, 1)}
    tasks["items"]["properties"]["kind"]["enum"] = [kind.value for kind in kinds_of(request)]
    return schema


@lru_cache(maxsize=4)
def _wire_schema(model: type[ReplyModel]) -> dict[str, Any]:
    schema = model.model_json_schema()
    wired: dict[str, Any] = _wire(schema, schema.get("$defs", {}))
    return wired


def _wire(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return _wire(definitions[node["$ref"].rsplit("/", 1)[-1]], definitions)
    if node["type"] == "object":
        properties = {name: _wire(part, definitions) for name, part in node["properties"].items()}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }
    if node["type"] == "array":
        parts = node.get("prefixItems")
        wired = {"type": "array", "items": _wire(parts[0] if parts else node["items"], definitions)}
        # Pairs and boxes: as many entries as the tuple has.
        return wired | ({"minItems": len(parts), "maxItems": len(parts)} if parts else {})
    return {key: node[key] for key in ("type", "enum") if key in node}
