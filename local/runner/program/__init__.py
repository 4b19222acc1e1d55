"""The program itself. It is copied into runner roots and imports only the standard library.

Its imports are relative because it is another package there, and late because it must start fast.
"""
