"""Tests: `python3 -m unittest discover tests`."""

import unittest

from app import greeting


class Greeting(unittest.TestCase):
    """What is said."""

    def test_it_greets(self):
        """It names whom it greets."""
        self.assertEqual(greeting("world"), "Hello, world!")


if __name__ == "__main__":
    unittest.main()
