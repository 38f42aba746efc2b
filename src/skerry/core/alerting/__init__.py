"""Alerts without a server: what is wrong (looking), for how long (damping), who says so to whom (sending). Pure, as all of core."""
