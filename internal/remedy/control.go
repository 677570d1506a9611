// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ControlSocket is the socket in the directory of auto_fix by which a running
// collector is asked and stopped.
const ControlSocket = "control.sock"

// The control protocol: one request as a line of JSON, then answers as lines
// of JSON, of which the last one has final set.
const (
	controlVersion = 1
	maxControlLine = 64 << 10 // bytes of a request
	controlTimeout = 10 * time.Second
)

// Command is what a request asks for.
type Command string

// The commands of version 1.
const (
	CommandStatus  Command = "status"
	CommandStop    Command = "stop"
	CommandStart   Command = "start"
	CommandJournal Command = "journal"
)

func commands() []Command {
	return []Command{CommandStatus, CommandStop, CommandStart, CommandJournal}
}

// Request is one line from a client.
type Request struct {
	Version int     `json:"version"`
	Command Command `json:"command"`
	Reason  string  `json:"reason,omitempty"`
	From    uint64  `json:"from,omitempty"`  // journal: first number wanted
	Limit   int     `json:"limit,omitempty"` // journal: at most so many
}

// Response is one line to a client.
type Response struct {
	Version int     `json:"version"`
	OK      bool    `json:"ok"`
	Final   bool    `json:"final"`
	Error   string  `json:"error,omitempty"`
	Text    string  `json:"text,omitempty"`
	Status  *Status `json:"status,omitempty"`
	Record  *Record `json:"record,omitempty"`
}

// Status is what a running engine says of itself.
type Status struct {
	Mode       Mode     `json:"mode"`       // in force
	Configured Mode     `json:"configured"` // asked for
	Why        []string `json:"why,omitempty"`
	Stopped    string   `json:"stopped,omitempty"` // why the kill switch is thrown
	Findings   int      `json:"findings"`
	Watched    int      `json:"watched"`
	Newest     uint64   `json:"newest"` // number of the newest record
	Delivered  uint64   `json:"delivered"`
}

// parseRequest reads one line that anybody who may connect can choose.
func parseRequest(line []byte) (Request, error) {
	var r Request
	if err := json.Unmarshal(line, &r); err != nil {
		return r, fmt.Errorf("request is not understood: %w", err)
	}
	if r.Version != controlVersion {
		return r, fmt.Errorf("version %d of the control protocol is not spoken here, only %d", r.Version, controlVersion)
	}
	if !slices.Contains(commands(), r.Command) {
		return r, fmt.Errorf("unknown command %.40q; known commands are %s", string(r.Command), join(commands()))
	}
	if r.Limit < 0 {
		return r, fmt.Errorf("limit must not be negative, is %d", r.Limit)
	}
	if len(r.Reason) > 256 {
		r.Reason = r.Reason[:256]
	}
	r.Reason = strings.ToValidUTF8(strings.Map(printable, r.Reason), "?")
	return r, nil
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return ' '
	}
	return r
}
