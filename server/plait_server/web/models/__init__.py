"""The bodies of the contract as pydantic models: they check what needs checking and describe the rest."""
