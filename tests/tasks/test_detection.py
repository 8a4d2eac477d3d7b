from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import ResNet, resnet101
from torchvision.models.resnet import BasicBlock

from smears import analytic_smear, random_smear
from smearsynth.errors import DataError, ModelError, OptionError
from smearsynth.metrics.matching import box_ious
from smearsynth.tasks import Detection, FitRun, Prediction, fit, load_model
from smearsynth.tasks.base import Evaluation, Task, true_classes
from smearsynth.tasks.registry import TASKS

KINDS = ("red cell", "white cell")


@pytest.fixture(scope="module")
def learned() -> Detection:
    """A small model of two classes that has hardly seen smears 0 to 7, but knows where cells are."""
    model = Detection.preset("tiny", class_names=KINDS, steps=80, batch=2, learning_rate=3e-3, seed=0)
    fit(model, [random_smear(k, class_names=KINDS) for k in range(8)], validation=[])
    return model


def test_the_papers_network_is_resnet_101_with_a_pyramid() -> None:
    model = Detection.presets["paper"]
    with torch.device("meta"):
        network = Detection.build(type("", (), {"config": model})())  # the weights would take seconds to draw
        original = resnet101()
    body = {name: tuple(t.shape) for name, t in network.backbone.body.named_parameters()}
    assert body == {n: tuple(t.shape) for n, t in original.named_parameters() if not n.startswith("fc.")}
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


def test_it_learns_to_find_cells(learned: Detection) -> None:
    unseen = [random_smear(100 + k, class_names=KINDS) for k in range(6)]
    found, fresh = learned.evaluate(unseen), Detection.preset("tiny", class_names=KINDS).evaluate(unseen)
    assert found.metric == "ap"
    assert found.ap50 is not None
    assert fresh.ap50 is not None
    assert found.ap50 > 0.3 > fresh.ap50 + 0.2
    assert found.value < found.ap50
    tp, _, fn = found.counts
    assert tp + fn == sum(smear.count for smear in unseen)


def test_the_surest_boxes_lie_on_the_cells_and_know_their_class(learned: Detection) -> None:
    smear = analytic_smear((70, 90), [(25, 30, 10), (60, 40, 10)], classes=[0, 1], class_names=KINDS)
    found = learned.candidates(smear.image)
    for kind, true in enumerate(smear.boxes()):
        mine = found.boxes[found.classes == kind]
        best = mine[found.scores[found.classes == kind].argmax()]
        assert box_ious(best[None], true[None])[0, 0] > 0.5


def test_a_larger_field_has_as_many_cells_a_pixel(learned: Detection, monkeypatch: pytest.MonkeyPatch) -> None:
    """A field nine times as large, with nine times the cells, has nine times the proposals, not the same few."""
    smear = random_smear(100, class_names=KINDS)
    tiled = np.tile(smear.image, (3, 3, 1))
    monkeypatch.setattr("smearsynth.tasks.detection._MAX_CELLS", 8)
    monkeypatch.setattr("smearsynth.tasks.detection._REFERENCE_AREA", smear.labels.size)
    # Every proposal counts: how many exceed a score depends on the machine that the model was trained on.
    monkeypatch.setattr(learned.network.roi_heads, "score_thresh", 0.0)
    one, nine = learned.candidates(smear.image), learned.candidates(tiled)
    assert 4 < len(one.scores) <= 8
    assert 4 * len(one.scores) < len(nine.scores) <= 8 * 9
    assert len(learned.candidates(smear.image[:32, :32]).scores) <= 8  # and again a smaller one


def test_classes_are_told_by_name_whatever_their_order(learned: Detection) -> None:
    smear = analytic_smear((70, 90), [(25, 30, 10), (60, 40, 10)], classes=[0, 1], class_names=KINDS)
    other = replace(smear, classes=1 - smear.classes, class_names=KINDS[::-1])
    more = replace(smear, class_names=(*KINDS, "platelet"))  # of which it has none
    for same in (other, more):
        assert true_classes(same, KINDS).tolist() == [0, 1]
        assert learned.evaluate([same]).value == learned.evaluate([smear]).value
    with pytest.raises(DataError, match="not platelet; read both with the same --classes"):
        true_classes(replace(more, classes=np.array([0, 2])), KINDS)


def test_classes_are_names(learned: Detection) -> None:
    assert Detection.preset("tiny", class_names=list(KINDS)).config.class_names == KINDS  # type: ignore[arg-type]
    for wrong in ((), "red cell"):
        with pytest.raises(OptionError, match="class_names"):
            Detection.preset("tiny", class_names=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("task", TASKS.values())
def test_what_is_no_rgb_image_of_bytes_is_refused(task: type[Task]) -> None:
    model = task.preset("tiny")
    for image in (
        np.zeros((40, 50), "u1"),
        np.zeros(7, "u1"),
        np.zeros((40, 50, 4), "u1"),
        np.zeros((40, 50, 3)),
        np.zeros((0, 0, 3), "u1"),
    ):
        with pytest.raises(DataError, match=r"image must be \(H, W, 3\) uint8|no pixels"):
            model.predict(image)  # type: ignore[arg-type]


def test_a_prediction_is_what_the_model_is_sure_of(learned: Detection) -> None:
    image = random_smear(0, class_names=KINDS).image
    every, found = learned.candidates(image), learned.predict(image)
    assert len(every.scores) > len(found.scores) > 0
    assert (found.scores >= 0.5).all()
    assert sum(found.counts().values()) == len(found.boxes) == (every.scores >= 0.5).sum()


def test_fields_without_cells_can_be_learned_from(learned: Detection) -> None:
    empty = analytic_smear((64, 64), [], class_names=KINDS)
    learned.network.train()
    assert torch.isfinite(learned.loss([empty, random_smear(1, (64, 64), class_names=KINDS)]))


def test_more_than_a_hundred_cells_can_be_found() -> None:
    model = Detection.preset("tiny")
    model.candidates(np.zeros((40, 50, 3), np.uint8))
    assert model.network.roi_heads.detections_per_img >= 1000
    model.network.eval()
    assert model.network.rpn.post_nms_top_n() >= 1000


def test_cells_keep_their_size_in_pixels() -> None:
    model = Detection.preset("tiny")
    seen = []
    model.network.backbone.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].shape))
    model.predict(np.zeros((64, 96, 3), np.uint8))
    assert seen == [(1, 3, 64, 96)]


def test_the_same_seed_gives_the_same_model() -> None:
    smears = [random_smear(k) for k in range(3)]
    models = [Detection.preset("tiny", steps=3, seed=seed) for seed in (5, 5, 6)]
    for model in models:
        torch.manual_seed(torch.seed())  # proposals must not be drawn from it
        fit(model, smears)
    one, same, other = (model.network.rpn.head.cls_logits.weight for model in models)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_a_stopped_run_goes_on_bit_identically(tmp_path: Path) -> None:
    smears = [random_smear(k) for k in range(6)]
    whole, resumed = (Detection.preset("tiny", steps=4, class_names=("cell",)) for _ in range(2))
    wanted = fit(whole, smears, FitRun(tmp_path / "whole"))
    cut = tmp_path / "cut"
    fit(Detection.preset("tiny", steps=4), smears, FitRun(cut, time_limit=0))
    assert fit(resumed, smears, FitRun(cut)) == wanted
    loaded = load_model(cut)
    for network in (resumed.network, loaded.network):
        theirs = network.state_dict()
        assert all(torch.equal(tensor, theirs[name]) for name, tensor in whole.network.state_dict().items())


def test_pretrained_weights_come_from_a_local_file(tmp_path: Path) -> None:
    theirs = ResNet(BasicBlock, [1, 1, 1, 1])
    torch.save(theirs.state_dict(), tmp_path / "resnet.pth")
    model = Detection.pretrained(tmp_path / "resnet.pth", "tiny", steps=2)
    assert torch.equal(model.network.backbone.body.layer2[0].conv1.weight, theirs.layer2[0].conv1.weight)
    fit(model, [random_smear(0)], FitRun(tmp_path / "m"))
    assert load_model(tmp_path / "m").config.network.norm == "frozen"  # type: ignore[attr-defined]


@pytest.mark.parametrize("time_limit", [None, 0])
def test_a_folder_begun_with_other_weights_is_refused(tmp_path: Path, time_limit: float | None) -> None:
    for name in "ab":
        torch.save(ResNet(BasicBlock, [1, 1, 1, 1]).state_dict(), tmp_path / name)
    run = FitRun(tmp_path / "m", time_limit=time_limit)
    fit(Detection.pretrained(tmp_path / "a", "tiny", steps=2), [random_smear(0)], run)
    with pytest.raises(ModelError, match="contains a model with weights = "):
        fit(Detection.pretrained(tmp_path / "b", "tiny", steps=2), [random_smear(0)], run)
    assert fit(Detection.pretrained(tmp_path / "a", "tiny", steps=2), [random_smear(0)], FitRun(tmp_path / "m"))


@pytest.mark.parametrize("content", [None, b"", b"no pickle", {"conv1.weight": torch.zeros(2)}])
def test_files_that_are_no_such_weights_are_refused(tmp_path: Path, content: object) -> None:
    file = tmp_path / "resnet.pth"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content is not None:
        torch.save(content, file)
    said = "no such weight file" if content is None else "not the weights of this backbone"
    with pytest.raises(ModelError, match=f"resnet.pth: {said}"):
        Detection.pretrained(file, "tiny")


def test_a_model_of_one_class_takes_all_cells_for_one_and_another_asks_for_its_own() -> None:
    smear = random_smear(2, class_names=KINDS)
    one = Detection.preset("tiny")
    one.network.train()
    assert torch.isfinite(one.loss([smear]))
    found = Prediction(
        smear.boxes().astype(np.float32), np.ones(smear.count, np.float32), 0 * smear.classes, ("cell",)
    )
    assert Evaluation.of_boxes([(smear, found)]).value == pytest.approx(1)
    with pytest.raises(
        DataError, match="the model knows red cell, white cell but not cell; read both with the same --classes"
    ):
        Detection.preset("tiny", class_names=KINDS).loss([random_smear(2)])


def test_boxes_of_another_class_are_no_matches() -> None:
    smear = analytic_smear(classes=[0, 1, 1], class_names=KINDS)
    boxes = smear.boxes().astype(np.float32)
    right = Prediction(boxes, np.ones(3, np.float32), smear.classes, KINDS)
    wrong = Prediction(boxes, np.ones(3, np.float32), 1 - smear.classes, KINDS)
    unsure = Prediction(boxes, np.array([0.9, 0.9, 0.2], np.float32), smear.classes, KINDS)
    scored = [Evaluation.of_boxes([(smear, found)], 0.5) for found in (right, wrong, unsure)]
    assert [each.value for each in scored] == [pytest.approx(value) for value in (1, 0, 1)]
    assert [each.counts for each in scored] == [(3, 0, 0), (0, 3, 3), (2, 0, 1)]
    assert scored[0].images[0].score == 1.0
