"""torchvision's Keypoint R-CNN as its architecture has it, on a small backbone: two stages of NMS, RoI pooling."""

import torch
from packages import package, torchvision  # type: ignore[import-not-found]  # beside this file
from torch import Tensor, nn

from harness import Input, Model


class Keypoints(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        vision = torchvision()
        detection, pool = vision.models.detection, vision.ops.MultiScaleRoIAlign
        parts = package("torchvision.models.detection.keypoint_rcnn")
        boxes = package("torchvision.models.detection.faster_rcnn")
        backbone = package("torchvision.models.detection.backbone_utils").mobilenet_backbone(
            backbone_name="mobilenet_v3_small", weights=None, fpn=True, trainable_layers=6
        )
        self.net = detection.KeypointRCNN(
            backbone,
            min_size=128,
            max_size=160,
            rpn_anchor_generator=package("torchvision.models.detection.anchor_utils").AnchorGenerator(
                ((32,), (64,), (96,)), ((0.5, 1.0, 2.0),) * 3
            ),
            rpn_pre_nms_top_n_test=100,
            rpn_post_nms_top_n_test=20,
            box_roi_pool=pool(["0", "1"], 7, 2),
            box_head=boxes.TwoMLPHead(256 * 7 * 7, 64),
            box_predictor=boxes.FastRCNNPredictor(64, 2),
            keypoint_roi_pool=pool(["0", "1"], 14, 2),
            keypoint_head=parts.KeypointRCNNHeads(256, (64, 64)),
            keypoint_predictor=parts.KeypointRCNNPredictor(64, 5),
            box_detections_per_img=8,
            box_score_thresh=0.3,
        )
        for layer in self.net.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        found = self.net([picture])[0]
        return found["boxes"], found["scores"], found["labels"], found["keypoints"]


model = Model(
    build=lambda: Keypoints().eval(),
    inputs=[Input("picture", shape=(3, 120, 160), min_value=0.0, max_value=1.0)],
    # On a picture of one colour the convolutions' sums all round one way: 57 in ONNX Runtime, of which 0.16 px remain.
    tolerance=100.0,
)
