# Where things are kept. To be sourced from the root of the checkout.
# shellcheck disable=SC2034 # the variables are for those who source it

# What cargo builds, and what is gathered from it.
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")

# What takes long to get and does not depend on the checkout. As root, the servers run as user postgres,
# who may not look into root's home directory.
if [ "$(id -u)" = 0 ]; then
    cache=/var/cache/pg_errand
else
    cache=${XDG_CACHE_HOME:-$HOME/.cache}/pg_errand
fi

# What belongs to this checkout, but has to be readable by the servers' user.
private=$cache/checkout-$(pwd -P | cksum | cut -d ' ' -f 1)

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# major_of PG_CONFIG: the major version of an installation.
major_of() { "$1" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/'; }

# build_for PG_CONFIG: has pgrx generate its bindings from the headers of this installation. A home directory
# for pgrx is used rather than PGRX_PG_CONFIG_PATH: whenever that variable changes, pgrx is compiled again.
build_for() {
    local major version made
    major=$(major_of "$1")
    version=$("$1" --version)
    export PGRX_HOME=$target/pgrx
    made=$PGRX_HOME/pg$major.version
    mkdir -p "$PGRX_HOME"
    printf '[configs]\npg%s = "%s"\n' "$major" "$(command -v "$1")" >"$PGRX_HOME/config.toml"
    # The minor version is part of the ABI, and cargo does not notice that the headers have changed.
    if [ -e "$made" ] && [ "$(cat "$made")" != "$version" ]; then
        cargo clean -q -p pgrx-pg-sys
        cargo clean -q --release -p pgrx-pg-sys
        cargo clean -q --profile fast -p pgrx-pg-sys
    fi
    echo "$version" >"$made"
}
