"""PSALM: a language model with mask tokens in front of a masked-attention decoder (Zhang et al., 2024)."""
