"""Changes files in every way that powerloss.c notes, syncs some, and dies. integration/powerloss.rs says what must be left."""

import os
import signal
import sqlite3
import sys

folder = sys.argv[1]
step = sys.argv[2]


def path(name):
    return os.path.join(folder, name)


def write(name, content, flags=os.O_CREAT | os.O_WRONLY | os.O_TRUNC):
    fd = os.open(path(name), flags, 0o600)
    os.write(fd, content)
    return fd


def sync_folder():
    fd = os.open(folder, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def database(synchronous):
    connection = sqlite3.connect(path("rows.db"), isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("CREATE TABLE IF NOT EXISTS rows (text)")
    return connection


if step == "prepare":
    for name in ("overwritten", "appended", "cut", "truncated", "removed", "replaced", "moved"):
        os.fsync(write(name, b"stable " + name.encode()))
    sync_folder()
elif step == "change":
    fd = os.open(path("overwritten"), os.O_WRONLY)
    os.pwrite(fd, b"STABLE", 0)
    os.fdatasync(fd)
    os.pwrite(fd, b"lost", 8)
    os.writev(fd, [b"lo", b"st"])

    fd = write("appended", b" kept", os.O_WRONLY | os.O_APPEND)
    os.fsync(fd)
    os.write(fd, b" lost")
    os.write(fd, b" lost")

    os.ftruncate(os.open(path("cut"), os.O_RDWR), 3)
    write("truncated", b"lost")
    os.unlink(path("removed"))
    write("replacement", b"lost")
    os.rename(path("replacement"), path("replaced"))
    os.rename(path("moved"), path("moved-away"))
    os.fsync(write("created", b"its entry was never synced"))
elif step == "settle":
    os.fsync(write("created", b"and now it was"))
    os.rename(path("moved"), path("moved-away"))
    os.unlink(path("removed"))
    os.mkdir(path("folder"))
    sync_folder()
    write("created", b"more", os.O_WRONLY | os.O_APPEND)
    write("folder/inside", b"lost")
elif step == "database":
    connection = database("FULL")
    connection.execute("INSERT INTO rows VALUES ('kept')")
    connection.execute("PRAGMA synchronous = OFF")
    for _ in range(1000):
        connection.execute("INSERT INTO rows VALUES ('lost')")
elif step == "look":
    print(database("FULL").execute("SELECT group_concat(text) FROM rows").fetchone()[0])
    sys.exit()

os.kill(os.getpid(), signal.SIGKILL)
