"""What is asked: functions of an ArviZ tree."""
