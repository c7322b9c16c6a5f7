#!/bin/sh
# Brings engines for the pipeline into .engines: Prism by Go, Flink and Spark by Maven.
#   scripts/engines.sh prism flink spark      any of them; those that are there stay as they are
set -eu

cd "$(dirname "$0")/.."
folder=$(pwd)/.engines
beam=2.77.0

need() {
    command -v "$1" >/dev/null || { echo "$1 is needed for $2" >&2; exit 1; }
}

for engine in "$@"; do
    case $engine in
    prism)
        if [ ! -x "$folder/prism" ]; then
            need go "Prism"
            GOBIN=$folder go install "github.com/apache/beam/sdks/v2/go/cmd/prism@v$beam"
        fi ;;
    flink | spark)
        if [ ! -f "$folder/$engine/ready" ] || [ "runners/jars/$engine.xml" -nt "$folder/$engine/ready" ]; then
            need java "$engine"
            need mvn "$engine"
            rm -rf "$folder/$engine"
            mvn -q -B -f "runners/jars/$engine.xml" dependency:copy-dependencies \
                -DincludeScope=runtime -DoutputDirectory="$folder/$engine/jars"
            touch "$folder/$engine/ready"
        fi ;;
    *)
        echo "$engine: prism, flink or spark" >&2
        exit 2 ;;
    esac
done
