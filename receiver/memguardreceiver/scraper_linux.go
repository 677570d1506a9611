// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package memguardreceiver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"
	"go.uber.org/zap"

	"github.com/otel-memguard/memguard/internal/hostproc"
	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/procid"
	"github.com/otel-memguard/memguard/receiver/memguardreceiver/internal/metadata"
)

// processScraper turns scans into metrics.
type processScraper struct {
	cfg        *Config
	set        receiver.Settings
	logger     *zap.Logger
	provenance *leak.Provenance
	host       component.Host
	now        func() time.Time

	include, exclude, detail *matcher

	scanner   *hostproc.Scanner
	mb        *metadata.MetricsBuilder
	telemetry *scanTelemetry
	failing   bool
	told      bool // what privileges are lacking
	last      time.Time
}

func newProcessScraper(set receiver.Settings, cfg *Config, provenance *leak.Provenance) (*processScraper, error) {
	s := &processScraper{cfg: cfg, set: set, logger: set.Logger, provenance: provenance, now: time.Now}
	var errs [3]error
	s.include, errs[0] = cfg.Include.compile("include")
	s.exclude, errs[1] = cfg.Exclude.compile("exclude")
	s.detail, errs[2] = cfg.Detail.Include.compile("detail::include")
	return s, errors.Join(errs[:]...)
}

// start opens the host's procfs.
func (s *processScraper) start(_ context.Context, host component.Host) error {
	s.host = host
	if s.cfg.Audit != nil {
		if _, err := auditSource(host, *s.cfg.Audit); err != nil {
			return err
		}
	}
	proc := filepath.Join(s.cfg.RootPath, "proc")
	if _, err := os.Stat(filepath.Join(proc, "stat")); err != nil {
		return fmt.Errorf("root_path: %q has no proc file system: %w", s.cfg.RootPath, err)
	}
	var err error
	if s.provenance.HostID, err = procid.HostID(s.cfg.RootPath); err != nil {
		return fmt.Errorf("root_path: %q: %w", s.cfg.RootPath, err)
	}
	if s.provenance.BootID, err = procid.BootID(proc); err != nil {
		return fmt.Errorf("root_path: %q: %w", s.cfg.RootPath, err)
	}
	s.provenance.OwnPIDs = procid.OwnPIDs(proc)
	if !s.provenance.OwnPIDs {
		s.logger.Warn("Process ids under root_path are not ours: nothing is ever done to a process found there. "+
			"In a container, share the host's pid namespace (hostPID) to change that.", zap.String("root_path", s.cfg.RootPath))
	}
	if s.scanner, err = hostproc.New(s.options()); err != nil {
		return fmt.Errorf("root_path: %q: %w", s.cfg.RootPath, err)
	}
	if s.telemetry, err = newScanTelemetry(s.set.TelemetrySettings); err != nil {
		return errors.Join(err, s.scanner.Close())
	}
	s.mb = metadata.NewMetricsBuilder(s.cfg.MetricsBuilderConfig, s.set)
	s.logger.Info("Reading processes", zap.String("backend", s.scanner.Backend()), zap.String("proc", proc))
	return nil
}

func (s *processScraper) options() hostproc.Options {
	opts := hostproc.Options{
		Root:         s.cfg.RootPath,
		HostID:       s.provenance.HostID,
		BootID:       s.provenance.BootID,
		MaxProcesses: s.cfg.MaxProcesses,
		MaxObjects:   s.cfg.MaxObjects,
		CommandLine:  s.cfg.MetricsBuilderConfig.ResourceAttributes.ProcessCommandLine.Enabled,
		Want: func(f *hostproc.Facts) bool {
			return s.include.all(f.Name, f.Path, f.Owner, f.Cgroup) && !s.exclude.any(f.Name, f.Path, f.Owner, f.Cgroup)
		},
		Detail:    s.cfg.Detail.Enabled,
		Budget:    s.cfg.Detail.Budget,
		Sites:     s.cfg.Detail.Sites,
		Hold:      s.cfg.Detail.Hold,
		Idle:      s.cfg.IdleThreshold,
		Abandoned: s.cfg.AbandonedMinAge,
	}
	if !s.detail.empty() {
		opts.DetailWant = func(f *hostproc.Facts) bool { return s.detail.all(f.Name, f.Path, f.Owner, f.Cgroup) }
	}
	return opts
}

func (s *processScraper) shutdown(context.Context) error {
	if s.scanner == nil {
		return nil
	}
	s.telemetry.shutdown()
	if err := s.scanner.Close(); err != nil {
		return fmt.Errorf("close scanner: %w", err)
	}
	return nil
}

// scrape never returns an error: the controller would log it at every scrape.
// An unreadable process table is said once, and in the component's status.
func (s *processScraper) scrape(ctx context.Context) (pmetric.Metrics, error) {
	now := s.now()
	processes, err := s.scanner.Scan(now)
	s.report(err)
	if err != nil {
		s.telemetry.failed(ctx)
		return pmetric.NewMetrics(), nil
	}
	stats := s.scanner.Stats()
	s.telemetry.record(ctx, &stats, s.now().Sub(now), s.missed(now))
	s.tellPrivileges(&stats)
	return s.metrics(processes, now), nil
}

// report says when the process table becomes unreadable, and readable again.
func (s *processScraper) report(err error) {
	switch {
	case err != nil && !s.failing:
		s.logger.Error("Cannot read the process table", zap.Error(err))
		componentstatus.ReportStatus(s.host, componentstatus.NewRecoverableErrorEvent(err))
	case err == nil && s.failing:
		s.logger.Info("The process table can be read again")
		componentstatus.ReportStatus(s.host, componentstatus.NewEvent(componentstatus.StatusOK))
	}
	s.failing = err != nil
}

// missed returns how many scans did not happen since the one before, since the
// controller's ticker drops late ticks without a word.
func (s *processScraper) missed(now time.Time) int64 {
	last := s.last
	s.last = now
	if last.IsZero() {
		return 0
	}
	interval := s.cfg.ControllerConfig.CollectionInterval
	return max(int64((now.Sub(last)+interval/2)/interval)-1, 0)
}

// tellPrivileges says once what cannot be seen for lack of a privilege.
func (s *processScraper) tellPrivileges(stats *hostproc.Stats) {
	if s.told || !s.cfg.Detail.Enabled {
		return
	}
	s.told = true
	if stats.Denied == 0 && stats.MissingDescriptor == 0 {
		return
	}
	s.logger.Info("Some processes cannot be read in full: their descriptors by kind and site, sockets, lifetimes and "+
		"programs are missing. CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH, or running as their user, lift that.",
		zap.Int("processes", stats.Processes),
		zap.Int("without_detail", stats.Denied),
		zap.Int("without_descriptor_count", stats.MissingDescriptor))
}
