"""About how long the prompts will be that nobody has sent yet."""

from __future__ import annotations

from pipelines.config import Config
from pipelines.estimate_examination import CLAIMS, CONCLUDE, EXAMINE
from pipelines.preflight import USUAL_SIZE_PX, told_as
from pipelines.prompt_tokens import count_prompt
from pipelines.survey import Survey
from pipelines.typical import (
    check_request,
    conclude_request,
    describe_request,
    propose_request,
    solve_request,
    summarize_request,
    typical_scene,
    unseen_frames,
)
from transforms.annotate.conversation import compose
from transforms.annotate.prompts import load_templates
from transforms.annotate.teacher import TeacherSettings
from transforms.memo import MemoStore

DESCRIBE, SUMMARIZE, PROPOSE, SOLVE, REPAIR = (
    *("describe", "summarize", "propose", "solve", "repair"),
)
CRITIQUE = ("The answer is not the one that most attempts agree on.",)


def typical_prompt(
    kind: str,
    found: Survey,
    length_s: float,
    config: Config,
    settings: TeacherSettings,
    store: MemoStore,
) -> float:
    """About how many tokens a prompt of this kind takes."""
    size = USUAL_SIZE_PX
    if found.unseen:
        size = found.unseen[0].width_px, found.unseen[0].height_px
    if found.scenes:
        size = found.scenes[0].media.width_px, found.scenes[0].media.height_px
    scene = typical_scene(min(length_s, config.shots.max_clip_s), *size)
    request = {
        DESCRIBE: lambda: describe_request(scene),
        SUMMARIZE: lambda: summarize_request(
            scene, max(round(config.describe.event_s / scene.media.duration_s), 1)
        ),
        PROPOSE: lambda: propose_request(scene, config),
        SOLVE: lambda: solve_request(scene),
        REPAIR: lambda: solve_request(scene, CRITIQUE),
        EXAMINE: lambda: solve_request(scene),
        CLAIMS: lambda: check_request(scene),
        CONCLUDE: lambda: conclude_request(scene),
    }[kind]()
    templates = load_templates(settings.prompts)
    said = compose(
        request, templates, settings, lambda one, at, view: unseen_frames(one, settings, at, view)
    )
    return float(count_prompt(said, told_as(settings, store).family).total)
