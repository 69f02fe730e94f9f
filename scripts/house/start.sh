# Finds a Python >= 3.9 to run the scripts with (any will do: the lessons' own Python is chosen later), then hands over.
# Called by learn, test, bench and check:  sh scripts/house/start.sh COMMAND [ARGUMENT...]
set -u
here=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)

runs() {
    command -v "$1" >/dev/null 2>&1 && "$1" -c 'import sys; sys.exit(sys.version_info < (3, 9))' >/dev/null 2>&1
}

find_python() {
    for python in ${TENFOLD_PYTHON:+"$TENFOLD_PYTHON"} "$here/../.venv/bin/python" python3 python3.14 python3.13 python3.12 \
        python3.11 python3.10 python3.9 /usr/bin/python3 /usr/local/bin/python3 /opt/homebrew/bin/python3 python \
        "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.*/bin/python3; do
        if runs "$python"; then
            return 0
        fi
    done
    return 1
}

# No Python yet: the platform's own is enough. Only root, or sudo that asks nothing, may install it.
install_python() {
    if command -v apt-get >/dev/null 2>&1; then
        line="apt-get update && apt-get install -y python3 python3-venv python3-dev"
    elif command -v dnf >/dev/null 2>&1; then
        echo "No Python >= 3.9 here. Install one, then run this again:  sudo dnf install python3 python3-devel" >&2
        return 1
    elif command -v pacman >/dev/null 2>&1; then
        echo "No Python >= 3.9 here. Install one, then run this again:  sudo pacman -S python" >&2
        return 1
    elif command -v brew >/dev/null 2>&1; then
        echo "No Python >= 3.9 here. Install one, then run this again:  brew install python" >&2
        return 1
    else
        echo "No Python >= 3.9 here. Install one from your system's packages or python.org, then run this again." >&2
        return 1
    fi
    if [ "$(id -u)" = 0 ]; then
        sudo=""
    elif sudo -n true >/dev/null 2>&1; then
        sudo="sudo -n "
    else
        echo "No Python >= 3.9 here. Install one, then run this again:  sudo sh -c '$line'" >&2
        return 1
    fi
    echo "No Python >= 3.9 here; running:  $sudo sh -c '$line'"
    DEBIAN_FRONTEND=noninteractive $sudo sh -c "$line" </dev/null
}

if ! find_python; then
    install_python || exit 1
    if ! find_python; then
        echo "That brought no Python >= 3.9. Install a newer one, or point TENFOLD_PYTHON at one." >&2
        exit 1
    fi
fi
exec "$python" "$here/house/run.py" "$@"
