"""SAM and SAM 2 on transformers' classes, behind seg's own protocols: clicks, boxes and masks; SAM 2 also video."""
