"""E2B's control routes, a module for each subject: `Control` is the door, which checks the key and knows all routes.

A route reads and checks its request (`bodies`, `creation`), calls the register of sandboxes, and describes what came
of it (`answers`).
"""
