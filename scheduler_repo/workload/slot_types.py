"""The slot types of all workloads, so that workloads can share a database."""

from scheduler_repo.entities.slot_type import SlotTypeSpec
from scheduler_repo.types import SlotName

CPU = SlotName("cpu")
MEM = SlotName("mem")
CUDA_DEVICE = SlotName("cuda.device")
CUDA_SHARES = SlotName("cuda.shares")
MILLI = 1000
MEBIBYTE = 2**20
GIBIBYTE = 2**30
CPU_TYPE = SlotTypeSpec(name=CPU, units_per_whole=MILLI, display_unit="cores")
MEM_TYPE = SlotTypeSpec(name=MEM, units_per_whole=1, display_unit="B")
CUDA_DEVICE_TYPE = SlotTypeSpec(name=CUDA_DEVICE, units_per_whole=1, display_unit="GPU")
CUDA_SHARES_TYPE = SlotTypeSpec(name=CUDA_SHARES, units_per_whole=MILLI, display_unit="GPU")


def slot_amounts(cores: int = 0, gibibytes: int = 0, gpus: int = 0, gpu_milli: int = 0) -> dict[SlotName, int]:
    """Build amounts in smallest units; ``gpu_milli`` are thousandths of shared GPUs. Zeros are left out."""
    amounts = {CPU: cores * MILLI, MEM: gibibytes * GIBIBYTE, CUDA_DEVICE: gpus, CUDA_SHARES: gpu_milli}
    return {slot_name: amount for slot_name, amount in amounts.items() if amount}
