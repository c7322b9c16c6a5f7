"""Options of which each view is made once are Beam's in all else."""

from __future__ import annotations

import copy
import pickle

from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
)

from runners.options import Options

GIVEN = ["--runner=direct", "--direct_num_workers=3", "--sdk_location=here"]


def test_a_view_is_made_once() -> None:
    options = Options(GIVEN)
    assert options.view_as(DirectOptions) is options.view_as(DirectOptions)
    assert options.view_as(DirectOptions) is not Options(GIVEN).view_as(DirectOptions)


def test_what_is_set_on_a_view_is_seen_in_all() -> None:
    options = Options(GIVEN)
    options.view_as(DirectOptions).direct_num_workers = 5
    again = options.view_as(StandardOptions).view_as(DirectOptions)
    assert again.direct_num_workers == options.view_as(DirectOptions).direct_num_workers == 5


def test_all_options_are_those_of_beam() -> None:
    options, beams = Options(GIVEN), PipelineOptions(GIVEN)
    for one in (options, beams):
        one.view_as(SetupOptions).save_main_session = True
    assert options.get_all_options(drop_default=True) == beams.get_all_options(drop_default=True)
    assert options.to_runner_api() == beams.to_runner_api()


def test_a_copy_has_views_of_its_own() -> None:
    options = Options(GIVEN)
    options.view_as(DirectOptions).direct_num_workers = 5
    for other in (copy.deepcopy(options), pickle.loads(pickle.dumps(options))):
        other.view_as(DirectOptions).direct_num_workers = 7
        assert options.view_as(DirectOptions).direct_num_workers == 5
