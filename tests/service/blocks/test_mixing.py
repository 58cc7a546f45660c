"""Mixup and CutMix against their formulas, and the Beta distribution against SciPy's."""

import pytest
import torch
from scipy import stats

from service.blocks.mixing import CutMix, Mixup, symmetric_beta

MANY = 20_000


def source(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("alpha", [0.5, 0.8, 1.0, 2.0, 7.5, 300.0])
def test_symmetric_beta_has_the_distribution_of_scipy(alpha: float) -> None:
    drawn = symmetric_beta(alpha, MANY, source()).double().numpy()
    assert stats.kstest(drawn, stats.beta(alpha, alpha).cdf).statistic < 0.015


@pytest.mark.parametrize("alpha", [0.001, 0.01, 0.1, 0.2, 1.0, 1000.0])
def test_symmetric_beta_has_the_moments_of_its_formula(alpha: float) -> None:
    drawn = symmetric_beta(alpha, MANY, source()).double()
    assert ((drawn >= 0) & (drawn <= 1)).all()
    variance, fourth = 1 / (4 * (2 * alpha + 1)), 3 / (16 * (2 * alpha + 1) * (2 * alpha + 3))
    centred = drawn - 0.5
    assert abs(centred.mean()) < 4 * (variance / MANY) ** 0.5
    torch.testing.assert_close(centred.square().mean().item(), variance, rtol=0.04, atol=0)
    torch.testing.assert_close(centred.pow(4).mean().item(), fourth, rtol=0.08, atol=0)


@pytest.mark.parametrize("shape", [(3,), (2, 5), (1, 4, 4)])
def test_mixup_is_the_mean_of_two_rows_in_their_shares(shape: tuple[int, ...]) -> None:
    x = torch.randn(64, *shape, generator=source())
    mixed, partner, share = Mixup(alpha=1.0).mix(x, source(1))
    s = share.view(-1, *[1] * len(shape))
    torch.testing.assert_close(mixed, s * x + (1 - s) * x[partner])


def test_shares_of_mixup_are_the_larger_of_the_two() -> None:
    share = Mixup(alpha=0.6).mix(torch.zeros(MANY, 1), source()).share.double().numpy()
    beta = stats.beta(0.6, 0.6)
    assert stats.kstest(share, lambda s: beta.cdf(s) - beta.cdf(1 - s)).statistic < 0.015


def test_partners_are_drawn_uniformly() -> None:
    partners = torch.cat([Mixup().mix(torch.zeros(4, 1), source(seed)).partner for seed in range(2000)])
    assert stats.chisquare(partners.view(-1, 4)[:, 0].bincount().numpy()).pvalue > 0.01


def test_a_row_alone_is_mixed_with_itself() -> None:
    x = torch.randn(1, 2, 4, 4, generator=source())
    for mixing in (Mixup(), CutMix()):
        mixed, partner, _ = mixing.mix(x, source())
        assert partner.tolist() == [0]
        torch.testing.assert_close(mixed, x)


def test_cutmix_takes_every_pixel_from_one_image_and_shares_are_their_pixels() -> None:
    x = torch.arange(64.0).view(64, 1, 1, 1).expand(64, 2, 10, 14)
    mixed, partner, share = CutMix(alpha=1.0).mix(x, source())
    assert torch.equal(mixed[:, 0], mixed[:, 1])
    own, other = mixed[:, 0] == x[:, 0], mixed[:, 0] == x[partner][:, 0]
    assert (own | other).all()
    alone = partner == torch.arange(64)
    counted = own.float().mean(dim=(1, 2))
    torch.testing.assert_close(counted[~alone], share[~alone])
    for mine in own[~alone]:
        # A rectangle: of the partner in the row, or, where that would be more than half, of the row in the partner.
        inside = [part for part in (mine, ~mine) if part.any(1).sum() * part.any(0).sum() == part.sum()]
        assert inside


def test_rectangles_of_cutmix_have_the_areas_of_the_paper() -> None:
    # Rectangles of share 1 - lambda about a uniform centre, cut off at the edges, worked out without pixels.
    share = CutMix(alpha=1.0).mix(torch.zeros(4000, 1, 50, 80), source()).share.double().numpy()
    random = torch.rand(3, 400_000, generator=source(5), dtype=torch.float64)
    half = (1 - random[0]).sqrt() / 2
    sides = [torch.clamp(c + half, max=1) - torch.clamp(c - half, min=0) for c in random[1:]]
    area = sides[0] * sides[1]
    expected = torch.maximum(area, 1 - area).numpy()
    assert stats.kstest(share, expected[:40_000]).statistic < 0.04


def test_cutmix_is_for_images() -> None:
    assert CutMix().refusal((3, 8, 8)) is None
    assert all("images" in str(CutMix().refusal(shape)) for shape in ((4,), (4, 6), (1, 2, 3, 4)))
    assert Mixup().refusal((4,)) is None
