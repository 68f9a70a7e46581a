# Sourced by the scripts of this folder.

# step SECONDS TITLE COMMAND...: runs one step without stdin, ends it when it
# takes longer than SECONDS, says how long it took, and leaves the script when it fails.
step() {
    local limit=$1 title=$2 started=$SECONDS status=0
    shift 2
    printf '\n==> %s\n' "$title"
    timeout --kill-after=10 "$limit" "$@" </dev/null || status=$?
    if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
        printf '==> %s: ended after its limit of %s s\n' "$title" "$limit" >&2
        exit 1
    elif [ "$status" -ne 0 ]; then
        printf '==> %s: failed (status %s) after %s s\n' "$title" "$status" "$((SECONDS - started))" >&2
        exit 1
    fi
    printf '==> %s: %s s\n' "$title" "$((SECONDS - started))"
}
