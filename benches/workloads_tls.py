"""The same as some of workloads.py over TLS, and beside sftp; all with AES-128-GCM."""
from peers import TLS_PEERS, BareReceiveHashed, BerthTls, Sshd
from table import Table
from workloads import MEMORY, NO_LOGIN, RATES, RUSHES, afresh, fresh, measure_download, measure_idle, measure_logins, measure_to_file, measure_upload, rows

HELD_MOST = 5000


def both(measure, *more):
    return [*rows(measure, [*TLS_PEERS, *more]), ("berth", BerthTls, measure, False)]


def download(bench):
    measure = measure_download(bench)
    table = Table(f"Download of {bench.big >> 20:,} MiB over TLS, the receiver discards", RATES)
    return bench.rounds(table, [*both(measure), ("berth, digest not known yet", BerthTls, measure, True)], bench.large)


def download_to_file(bench):
    measure = measure_to_file(bench)
    table = Table(f"Download of {bench.big >> 20:,} MiB over TLS, file to file by curl, sftp and berth, which verifies it; login included", RATES)
    bench.rounds(table, [*both(measure, Sshd), ("berth, digest not known yet", BerthTls, measure, True)], bench.large)
    fresh(bench.sink)
    return table


def upload(bench):
    table = Table(f"Upload of {bench.big >> 20:,} MiB over TLS; berth verifies it, login included", RATES)
    measure = measure_upload(bench)
    # What verifying leaves of a core even without TLS.
    bench.rounds(table, [*both(measure, Sshd), (BareReceiveHashed.title, BareReceiveHashed, measure, False)], bench.large)
    fresh(f"{bench.large}/up")
    return table


def idle(bench):
    table = Table("Idle sessions over TLS, logged in: memory (PSS)", MEMORY)
    return bench.rounds(table, afresh(both(measure_idle(bench, HELD_MOST))), bench.large)


def logins(bench):
    table = Table("Logins over TLS, 50 at once", RUSHES)
    table.note(NO_LOGIN)
    return bench.rounds(table, both(measure_logins(bench)), bench.large)


TLS_WORKLOADS = dict(download_tls=download, file_tls=download_to_file, upload_tls=upload, idle_tls=idle, login_tls=logins)
