"""Raw loads: box scores and schedules from files into the raw tables, one date at a time.

Owns: reading the files, deriving and synthesising rows, replacing them and publishing the load.
Refuses: scraping anything.
"""
