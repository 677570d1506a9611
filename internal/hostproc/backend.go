// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

// backend is where the facts about processes come from. The one here reads
// procfs; one on BPF iterators gives the same records in one pass.
type backend interface {
	// name is what logs and telemetry call the backend.
	name() string
	// each calls measure for every user process. Where that returns true, the
	// record is completed (memory, descriptor count) and handed to take. The
	// record is reused for the next process.
	each(measure func(*record) bool, take func(*record)) error
	// descriptors calls visit for every descriptor of one process. The
	// descriptor is reused.
	descriptors(pid int32, visit func(*descriptor)) error
	close() error
}

// descriptor is one open descriptor of a process.
type descriptor struct {
	fd     int32
	kind   uint8
	inode  uint64 // of sockets and pipes, else 0
	target []byte // of the link; valid during the call
}

// Reason sorts expected trouble for telemetry.
type Reason uint8

// Reasons why something could not be read.
const (
	ReasonPermission Reason = iota
	ReasonGone
	ReasonMalformed
	ReasonOther
	NumReasons
)

// String returns the value that telemetry uses.
func (r Reason) String() string {
	return [...]string{"permission_denied", "gone", "malformed", "other", "unknown"}[min(r, NumReasons)]
}

// Stats counts what one scan did. All but the sizes are of this scan alone.
type Stats struct {
	Processes         int // measured
	Excluded          int // seen and not wanted
	Refused           int // beyond the bound on processes
	Errors            [NumReasons]int
	Detailed          int // processes whose descriptors were read
	Descriptors       int // descriptors read
	Denied            int // processes whose descriptors may not be read
	Deferred          int // suspects left for a later scan by the budget
	Folded            int // descriptors counted under site "other"
	ObjectsRefused    int // beyond the bound on objects
	SocketsRefused    int // sockets of the dump beyond the bound on objects
	OtherNetns        int // processes with sockets that our dump cannot show
	SocketDumpErrors  int // dumps that failed or were interrupted
	Lives             int // size of the table of lives
	Objects           int // size of the table of objects
	MissingDescriptor int // processes without even a descriptor count
}
