-- What each role may do, table by table. Run by the owner of the tables at the end of every upgrade, in the same
-- transaction; safe to repeat. What is not granted here is refused: every table starts from nothing.
--
-- Ids, owners, requests and the index of a slot type are never updated once written, so UPDATE is by column.
-- A row lock (FOR UPDATE ... FOR SHARE) needs UPDATE on one column at least. Rows that belong to a session or an
-- agent go with it (ON DELETE CASCADE), for which no privilege of their own is needed; nor do identity columns need
-- any on their sequences.

REVOKE ALL ON
    slot_types, resource_policies, domains, projects, users, keypairs, quotas, vfolders, scaling_groups, agents,
    agent_slots, agent_heartbeats, agent_history, sessions, kernels, session_dependencies,
    session_vfolder_mounts, session_history, reservations, kernel_reservations, operations, scheduler_leases,
    scaling_group_grants, change_log, usage_log, owner_usage, change_floor, server_life, counted_usage,
    unfolded_usage, usage_parts, scheduler_repo_schema_version
FROM PUBLIC;

REVOKE ALL ON SEQUENCE agent_history_id_seq, session_history_id_seq, reservations_position_seq FROM PUBLIC;

-- A trigger's function runs for whoever fires it, without this privilege.
REVOKE ALL ON FUNCTION
    session_dependencies_mark_sessions(), agents_end_reservations(), log_sessions(), log_parts_of_sessions(),
    log_reservations(), log_agents(), log_agent_slots(), log_scaling_groups(), log_quotas(), log_resource_policies(),
    log_slot_types(), log_session_usage(), log_kernel_usage(), log_former_key(), log_truncate(), refuse_change(),
    drop_restored_row()
FROM PUBLIC;
REVOKE ALL ON quota_additions FROM PUBLIC;
REVOKE ALL ON FUNCTION
    hold_quotas, purge_sessions, purge_agent_history, purge_operations, take_back_sessions, refuse_restored_usage,
    snapshot_without_own, is_usage_restored, rebuild_usage, fold_usage, trim_changes, renew_server_life,
    change_history
FROM PUBLIC;

DO $reader$
BEGIN
    IF to_regrole('scheduler_repo_reader') IS NULL THEN
        RAISE NOTICE 'there is no role scheduler_repo_reader, nothing is granted to it; run roles.sql, then upgrade';
        RETURN;
    END IF;

    IF NOT has_schema_privilege('scheduler_repo_reader', current_schema(), 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO scheduler_repo_reader', current_schema());
    END IF;

    REVOKE ALL ON quota_additions FROM scheduler_repo_reader;
    REVOKE ALL ON SEQUENCE agent_history_id_seq, session_history_id_seq, reservations_position_seq
    FROM scheduler_repo_reader;
    REVOKE ALL ON
        slot_types, resource_policies, domains, projects, users, keypairs, quotas, vfolders, scaling_groups, agents,
        agent_slots, agent_heartbeats, agent_history, sessions, kernels, session_dependencies,
        session_vfolder_mounts, session_history, reservations, kernel_reservations, operations, scheduler_leases,
        scaling_group_grants, change_log, usage_log, owner_usage, change_floor, server_life, counted_usage,
        unfolded_usage, usage_parts, scheduler_repo_schema_version
    FROM scheduler_repo_reader;

    GRANT SELECT ON
        slot_types, resource_policies, domains, projects, users, keypairs, quotas, vfolders, scaling_groups, agents,
        agent_slots, agent_heartbeats, agent_history, sessions, kernels, session_dependencies,
        session_vfolder_mounts, session_history, reservations, kernel_reservations, operations, scheduler_leases,
        scaling_group_grants, change_log, usage_log, owner_usage, change_floor, server_life, counted_usage,
        unfolded_usage, usage_parts, scheduler_repo_schema_version
    TO scheduler_repo_reader;

    -- A view calls it for whoever reads the view.
    GRANT EXECUTE ON FUNCTION refuse_restored_usage, change_history TO scheduler_repo_reader;
END
$reader$;

DO $scheduler$
BEGIN
    IF to_regrole('scheduler_repo_scheduler') IS NULL THEN
        RAISE NOTICE
            'there is no role scheduler_repo_scheduler, nothing is granted to it; run roles.sql, then upgrade';
        RETURN;
    END IF;

    IF NOT has_schema_privilege('scheduler_repo_scheduler', current_schema(), 'USAGE') THEN
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO scheduler_repo_scheduler', current_schema());
    END IF;

    REVOKE ALL ON quota_additions FROM scheduler_repo_scheduler;
    REVOKE ALL ON SEQUENCE agent_history_id_seq, session_history_id_seq, reservations_position_seq
    FROM scheduler_repo_scheduler;
    REVOKE ALL ON
        slot_types, resource_policies, domains, projects, users, keypairs, quotas, vfolders, scaling_groups, agents,
        agent_slots, agent_heartbeats, agent_history, sessions, kernels, session_dependencies,
        session_vfolder_mounts, session_history, reservations, kernel_reservations, operations, scheduler_leases,
        scaling_group_grants, change_log, usage_log, owner_usage, change_floor, server_life, counted_usage,
        unfolded_usage, usage_parts, scheduler_repo_schema_version
    FROM scheduler_repo_scheduler;

    GRANT SELECT ON
        slot_types, resource_policies, domains, projects, users, keypairs, quotas, vfolders, scaling_groups, agents,
        agent_slots, agent_heartbeats, agent_history, sessions, kernels, session_dependencies,
        session_vfolder_mounts, session_history, reservations, kernel_reservations, operations, scheduler_leases,
        scaling_group_grants, change_log, usage_log, owner_usage, change_floor, server_life, counted_usage,
        unfolded_usage, usage_parts, scheduler_repo_schema_version
    TO scheduler_repo_scheduler;

    -- What there is, and who may use it. Amounts stored under a slot type would change their meaning with its
    -- index or unit.
    GRANT INSERT, UPDATE (display_unit) ON slot_types TO scheduler_repo_scheduler;
    GRANT INSERT, UPDATE (slot_limits, max_concurrent_sessions, max_kernels_per_session)
        ON resource_policies TO scheduler_repo_scheduler;
    GRANT INSERT, UPDATE (is_active) ON domains, projects, users, keypairs TO scheduler_repo_scheduler;
    GRANT INSERT, UPDATE (resource_policy, slot_limits, max_concurrent_sessions)
        ON quotas TO scheduler_repo_scheduler;
    GRANT EXECUTE ON FUNCTION hold_quotas TO scheduler_repo_scheduler;
    GRANT INSERT ON vfolders TO scheduler_repo_scheduler;

    -- The pools and their agents. An agent that is gone stays, as TERMINATED.
    GRANT INSERT, UPDATE (is_active, pending_timeout, preemption_scope, preemption_min_runtime, is_public)
        ON scaling_groups TO scheduler_repo_scheduler;
    GRANT INSERT, DELETE ON scaling_group_grants TO scheduler_repo_scheduler;
    GRANT INSERT, UPDATE (scaling_group, status, is_schedulable, address, architecture, container_count,
            max_containers, status_changed_at, returns_as)
        ON agents TO scheduler_repo_scheduler;
    GRANT INSERT, UPDATE (capacity, occupied, reported_capacity) ON agent_slots TO scheduler_repo_scheduler;
    GRANT INSERT, UPDATE (heartbeat_at) ON agent_heartbeats TO scheduler_repo_scheduler;

    -- The work. A purge deletes by the functions below; DELETE is for those who clean up what they made, as tests do, and
    -- leaves history as it is. has_dependencies is the trigger's, which has the rights of whoever fires it.
    GRANT INSERT, DELETE, UPDATE (priority, status, result, status_changed_at, has_dependencies, retry_count,
            failed_agent_ids, dispatched_at)
        ON sessions TO scheduler_repo_scheduler;
    GRANT INSERT, UPDATE (status, agent_id, occupied_slots, exit_code, status_changed_at)
        ON kernels TO scheduler_repo_scheduler;
    GRANT INSERT ON session_dependencies, session_vfolder_mounts TO scheduler_repo_scheduler;

    -- The decisions. A lease is never deleted: its epoch would start again. A reservation is made anew, never
    -- changed (UPDATE is for its row lock), and its position is the server's: nobody may choose to be first.
    GRANT INSERT (session_id, scaling_group, reserved_at), UPDATE (reserved_at), DELETE
        ON reservations TO scheduler_repo_scheduler;
    GRANT INSERT, DELETE ON kernel_reservations TO scheduler_repo_scheduler;
    GRANT INSERT, UPDATE (result) ON operations TO scheduler_repo_scheduler;
    GRANT INSERT, UPDATE (holder, epoch, acquired_at, expires_at) ON scheduler_leases TO scheduler_repo_scheduler;

    -- History is written and read; it is never changed, and its ids and times are the server's.
    GRANT INSERT (agent_id, from_status, to_status, reason) ON agent_history TO scheduler_repo_scheduler;
    GRANT INSERT (session_id, kernel_id, from_status, to_status, reason) ON session_history
        TO scheduler_repo_scheduler;

    -- What is finished and old is deleted with the rights of these functions' owner, within the bounds that they
    -- keep. Who wants another role to purge grants it these instead.
    GRANT EXECUTE ON FUNCTION purge_sessions, purge_agent_history, purge_operations, take_back_sessions
        TO scheduler_repo_scheduler;

    -- Triggers alone write what changed, with their owner's rights; these functions keep it.
    GRANT EXECUTE ON FUNCTION
        refuse_restored_usage, is_usage_restored, rebuild_usage, fold_usage, trim_changes, renew_server_life,
        change_history
        TO scheduler_repo_scheduler;
END
$scheduler$;
