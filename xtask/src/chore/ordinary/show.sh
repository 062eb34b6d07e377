# show FOLDER... -- COMMAND...
#
# Runs a command that sees folders which lie behind closed ones. To be called in a mount namespace of its own: whatever
# is closed to other users is covered by an empty folder, and in that only the wanted ones appear.

# Prints the highest folder on the way to a path that other users may not enter.
closed() (
    path=$1 found=
    while [ "$path" != / ]; do
        case $(stat -c %A "$path" 2>/dev/null || echo x) in
            *[xt]) ;;
            *) found=$path ;;
        esac
        path=$(dirname "$path")
    done
    printf %s "$found"
)

# Keep hold of all of them before any is covered.
held=$(mktemp -d)
mount -t tmpfs -o mode=700 tmpfs "$held"
count=0
for folder; do
    [ "$folder" != -- ] || break
    count=$((count + 1))
    mkdir "$held/$count"
    mount --rbind "$folder" "$held/$count"
done

count=0
while [ "$1" != -- ]; do
    count=$((count + 1))
    folder=$1
    shift
    cover=$(closed "$folder")
    # What an earlier one's cover hides is not closed, but gone.
    [ -n "$cover" ] || [ ! -e "$folder" ] || continue
    [ -z "$cover" ] || mount -t tmpfs -o mode=755 tmpfs "$cover"
    mkdir -p "$folder"
    # Entry by entry, for the folder itself may be a closed one.
    for entry in "$held/$count"/* "$held/$count"/.[!.]*; do
        [ -e "$entry" ] || continue
        place=$folder/${entry##*/}
        if [ -d "$entry" ]; then mkdir "$place"; else touch "$place"; fi
        mount --rbind "$entry" "$place"
    done
done
shift
cd "$PWD"
exec "$@"
