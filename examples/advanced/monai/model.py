"""The network, and how its segmentations are measured."""

import torch
from monai.data import CacheDataset, DataLoader
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, from_engine
from monai.networks.nets import UNet
from monai.transforms import Activationsd, AsDiscreted, Compose, EnsureChannelFirstd, LoadImaged, ScaleIntensityRanged

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


class Net(UNet):
    def __init__(self):
        super().__init__(spatial_dims=2, in_channels=1, out_channels=1, channels=(8, 16, 32), strides=(2, 2))


def loader(scans, *, shuffle=False):
    """Return batches of scans, given by their files; pixels go from 0 to 1."""
    both = ["image", "label"]
    steps = [
        LoadImaged(keys=both, image_only=True),
        EnsureChannelFirstd(keys=both),
        ScaleIntensityRanged(keys=both, a_min=0, a_max=255, b_min=0, b_max=1),
    ]
    return DataLoader(CacheDataset(scans, Compose(steps), progress=False), batch_size=8, shuffle=shuffle)


def evaluator(net, scans):
    """Return an engine that measures the Dice score of a network on scans, as ``state.metrics["dice"]``."""
    return SupervisedEvaluator(
        device=DEVICE,
        val_data_loader=loader(scans),
        network=net,
        postprocessing=Compose([Activationsd(keys="pred", sigmoid=True), AsDiscreted(keys="pred", threshold=0.5)]),
        key_val_metric={"dice": MeanDice(output_transform=from_engine(["pred", "label"]))},
    )
