"""The report: one page with plots of what the suites have measured, and the figures of the READMEs.

All of it is made of the JSON objects of suites, whether they were measured just now or a year ago. Nothing here
knows a suite beforehand: cases that differ by an amount are drawn as a line, the others side by side.
"""
