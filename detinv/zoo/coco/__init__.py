"""The networks of three small detectors that others trained on COCO, for weights with folded normalisation."""
