"""A session's whole life, with the public names alone; ``test_program`` runs it, and mypy reads it."""
# fmt: off

import asyncio
from urllib.request import urlopen
from uuid import uuid4

from scheduler_repo import AccessKey, AgentId, AgentSpec, Architecture, BestFitPlanner, DomainName, KernelSpec
from scheduler_repo import KeypairSpec, OwnersSpec, ProjectId, ProjectSpec, ScalingGroupName, ScalingGroupSpec
from scheduler_repo import SchedulerLoop, SessionCreationSpec, SessionEnd, SessionResult, SessionStart, SlotName
from scheduler_repo import SessionStatus, SlotTypeSpec, UserId, UserSpec, metrics_endpoint, open_repositories

GROUP, CPU, X86 = ScalingGroupName("batch"), SlotName("cpu"), Architecture("x86_64")
DOMAIN, USER, PROJECT, KEY = DomainName("lab"), UserId(uuid4()), ProjectId(uuid4()), AccessKey("KEY1")
OWNERS = OwnersSpec(
    domains=(DOMAIN,), users=(UserSpec(user_id=USER, name="ada", domain_name=DOMAIN),),
    projects=(ProjectSpec(project_id=PROJECT, name="vision", domain_name=DOMAIN),),
    keypairs=(KeypairSpec(access_key=KEY, user_id=USER),))
NODE = AgentSpec(agent_id=AgentId("node-1"), scaling_group=GROUP, address="10.0.0.1:6001", architecture=X86,
                 capacity={CPU: 64_000})
JOB = SessionCreationSpec(name="train", scaling_group=GROUP, access_key=KEY, user_id=USER, project_id=PROJECT,
                          domain_name=DOMAIN, kernels=(KernelSpec(requested_slots={CPU: 8_000}),))


async def live(database_url: str, redis_url: str) -> tuple[SessionStatus, str]:
    async with open_repositories(database_url, redis_url) as repos:
        await repos.owners.register_owners(OWNERS)
        await repos.scaling_groups.register_slot_types([SlotTypeSpec(name=CPU, units_per_whole=1000)])
        await repos.scaling_groups.create_scaling_groups([ScalingGroupSpec(name=GROUP)])
        await repos.agents.register_agents([NODE])
        session_id = (await repos.sessions.create_session(JOB)).session_id
        await SchedulerLoop(repos.scheduler, BestFitPlanner(), GROUP).tick()
        await repos.lifecycle.mark_preparing([session_id])
        await repos.lifecycle.mark_running([SessionStart(session_id)])
        await repos.lifecycle.mark_terminated([SessionEnd(session_id, SessionResult.SUCCESS)])
        session = await repos.sessions.get_session_by_id(session_id)
        with metrics_endpoint(0) as url:
            return session.status, await asyncio.to_thread(lambda: urlopen(url).read().decode())  # noqa: S310
