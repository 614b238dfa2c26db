"""Adapters of DETR and RT-DETR from transformers."""
