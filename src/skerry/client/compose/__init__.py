"""Compose files: text in, `ComposeApp` out, or all mistakes at once. Knows no cloud, no image store and no host."""

from skerry.client.compose.load import load, load_text, parse
from skerry.client.compose.mistakes import ComposeErrors, Mistake
from skerry.client.compose.plan import ComposeApp, ImageRef, Recipe, ServicePlan

__all__ = ["ComposeApp", "ComposeErrors", "ImageRef", "Mistake", "Recipe", "ServicePlan", "load", "load_text", "parse"]
