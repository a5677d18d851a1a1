"""RAS, "Refer to Anything with Vision-Language Prompts": the group of masks that a sentence means.

Reference masks may stand inside of the sentence. The model draws no masks, it chooses among candidates. Names are the
paper's.
"""
