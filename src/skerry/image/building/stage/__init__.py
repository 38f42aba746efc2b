"""The build stage: the one place where foreign code runs. A throw-away root of locked packages, no network, a fixed path."""
