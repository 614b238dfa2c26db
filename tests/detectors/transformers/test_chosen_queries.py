"""LW-DETR, RF-DETR and two-stage Deformable DETR: which tokens queries are chosen among, and what cannot be built."""

import pytest
import torch

from detinv.detectors.heads.postprocess import postprocess
from detinv.errors import DetectorError
from tests.fakes import block_image

pytest.importorskip("transformers", reason="needs the optional library transformers: pip install 'detinv[detr]'")

from tests.transformers_fakes import SMALL, tiny_transformer  # noqa: E402

PROJECTED = ("lw_detr_small", "rf_detr_base")


def two_stage(**settings):
    own = SMALL["deformable"] | {"two_stage": True, "with_box_refine": True, "two_stage_num_proposals": 40}
    return tiny_transformer("deformable_detr_r50", settings=own | settings)


@pytest.mark.parametrize("architecture", PROJECTED)
def test_tokens_are_those_the_queries_are_chosen_among(architecture):
    detector = tiny_transformer(architecture)
    pixels = block_image((64, 96)).float()[None] / 255
    with torch.no_grad():
        predictions = detector(pixels)
        outputs = detector.model(pixel_values=detector._inputs(pixels, None))
    tokens = predictions.encoder
    best = tokens.logits[0].amax(-1).topk(40).indices
    torch.testing.assert_close(tokens.deltas[0][best], outputs.enc_outputs_coord_logits[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tokens.logits[0][best], outputs.enc_outputs_class[0], atol=1e-4, rtol=1e-4)
    assert predictions.dense.identities[0].equal(best)  # no token at this size lies within a hundredth of the border


def test_tokens_at_the_border_are_left_out_and_never_chosen():
    detector = tiny_transformer("rf_detr_base", image_size=[64, 1024])
    with torch.no_grad():
        predictions = detector(block_image((64, 1024)).float()[None] / 255)
    assert predictions.encoder.head.level_sizes == (8 * 126,)
    columns = predictions.dense.identities % 128
    assert columns.min() > 0
    assert columns.max() < 127


def test_two_stage_deformable_detr_is_the_librarys_and_names_its_queries_by_token():
    detector = two_stage()
    names = []
    for seed in range(3):
        image = block_image((64, 96), seed)
        (wanted,) = detector.detect([image])
        with torch.no_grad():
            predictions = detector(image.float()[None] / 255)
            (found,) = postprocess(predictions, [(64, 96)])
        assert len(found) == len(wanted) > 10
        torch.testing.assert_close(found.scores, wanted.scores, atol=1e-4, rtol=0)
        assert predictions.encoder is None
        names.append(predictions.dense.identities[0])
        assert len(set(names[-1].tolist())) == 40
    assert not names[0].equal(names[1])


@pytest.mark.parametrize("architecture", PROJECTED)
def test_sizes_that_suit_no_window_or_have_too_few_tokens_are_errors(architecture):
    with pytest.raises(DetectorError, match=r"image_size=\[60, 96\].*multiples of (16|32)"):
        tiny_transformer(architecture, image_size=[60, 96])
    with pytest.raises(DetectorError, match="tokens for 40 queries.*settings.num_queries"):
        tiny_transformer(architecture, image_size=[32, 32])
