import sqlite3

print(sqlite3.sqlite_version)
