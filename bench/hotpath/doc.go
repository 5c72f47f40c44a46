// Package hotpath has the steps of an update's way through publisher and worker
// as Go benchmarks. scripts/instructions.sh counts their instructions and compares
// them with instructions.txt beside this file.
package hotpath
