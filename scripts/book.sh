#!/usr/bin/env bash
# book.sh   Makes a site of docs/ in target/book.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
need_target
"$ROOT/scripts/setup.sh" book
source=$TARGET/book-source
rm -rf "$source"
cp -r "$ROOT/docs" "$source"
# The site has the pages alone: a link to a file of the repository becomes its path.
sed -Ei 's/\[[^]]*\]\(\.\.\/([^)]*)\)/`\1`/g' "$source"/*.md
log=$TARGET/log/book.log
mkdir -p "$TARGET/log"
"$TARGET/tools/bin/mdbook" build "$source" --dest-dir "$TARGET/book" >"$log" 2>&1 || die "$(cat "$log")"
if grep -E 'WARN|ERROR' "$log" >&2; then die "the book has warnings"; fi
note "$TARGET/book/index.html"
