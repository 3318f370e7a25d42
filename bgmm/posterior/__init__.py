"""Posterior analysis: functions of an ArviZ tree."""
