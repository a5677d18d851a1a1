"""SegGPT: segmenting everything in context (arXiv 2304.03284).

A photo and its mask stand above a second photo on one canvas; the model paints the missing mask. Read in this order:
`config`, `embedding`, `attention`, `block`, `decoder`, `model` (the published forward pass, also for training), then
`incontext` (the same numbers with the work that examples share done once), `prepost`, `palette`, `ensemble`, `loss`,
`prompt` and `tracker`.
"""
