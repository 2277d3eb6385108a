"""Graph to Program: fusion, loop order, memory."""

from netlang.schedule.memory import Plan, plan
from netlang.schedule.program import Program
from netlang.schedule.schedule import schedule
from netlang.schedule.text import program_text

__all__ = ["Plan", "Program", "plan", "program_text", "schedule"]
