# Functions for a private PostgreSQL server: own directory, own socket, no TCP. To be sourced.
# As root the server runs as user postgres, otherwise as the caller.

. dev/paths.sh
PG_CONFIG=${PG_CONFIG:-/usr/lib/postgresql/15/bin/pg_config}
[ -x "$(command -v "$PG_CONFIG")" ] || PG_CONFIG=pg_config

server_user() { if [ "$(id -u)" = 0 ]; then echo postgres; else id -un; fi; }

# Runs a command as the server's user, with none of the caller's settings for clients and servers.
as_server_user() {
    local run=(env -u RUST_BACKTRACE -u PGHOST -u PGPORT -u PGDATABASE -u PGUSER -u PGSERVICE LC_ALL=C.UTF-8 "$@")
    if [ "$(id -u)" = 0 ]; then
        setpriv --reuid=postgres --regid=postgres --init-groups -- "${run[@]}"
    else
        "${run[@]}"
    fi
}

# server_create DIR: makes a data directory; further settings come on standard input.
server_create() {
    local bin; bin=$("$PG_CONFIG" --bindir)
    mkdir -p "$1"
    chmod 755 "$1"
    [ "$(id -u)" != 0 ] || chown postgres:postgres "$1"
    (cd "$1" && as_server_user "$bin/initdb" -D "$1/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 --no-sync >/dev/null)
    {
        echo "listen_addresses = ''"
        echo "unix_socket_directories = '$1'"
        echo "shared_preload_libraries = 'pg_errand'"
        echo "log_line_prefix = '%m [%p] %b '"
        cat
    } >>"$1/data/postgresql.conf"
}

# server_start DIR: starts it; the environment of the caller counts (RESEND_API_KEY).
server_start() {
    local bin; bin=$("$PG_CONFIG" --bindir)
    (cd "$1" && as_server_user "$bin/pg_ctl" -D "$1/data" -l "$1/server.log" -w -s start) || {
        tail -n 20 "$1/server.log" >&2
        return 1
    }
}

# server_remove DIR: stops the server if it runs, and removes everything.
server_remove() {
    local bin; bin=$("$PG_CONFIG" --bindir)
    [ ! -d "$1/data" ] || (cd "$1" && as_server_user "$bin/pg_ctl" -D "$1/data" -m fast -w -s stop 2>/dev/null) || true
    rm -rf "$1"
}

# server_psql DIR ARGS…: psql as superuser.
server_psql() {
    local dir=$1 bin; bin=$("$PG_CONFIG" --bindir); shift
    PGOPTIONS='-c client_min_messages=warning' "$bin/psql" -X -q -v ON_ERROR_STOP=1 -h "$dir" -U postgres "$@"
}
