"""What all tests share: no property is judged by how long an example took."""

from hypothesis import settings

settings.register_profile("trunkline", settings.get_profile(settings.get_current_profile_name()), deadline=None)
settings.load_profile("trunkline")
